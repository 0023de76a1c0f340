/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one table of D-Bus error names. What stands beside it says when each is given. */

#define ERROR_PREFIX           "org.iommud1.Error."
#define ERROR_INVALID_ARGUMENT ERROR_PREFIX "InvalidArgument" /* the request makes no sense, whoever asks */
#define ERROR_UNKNOWN_OPTION   ERROR_PREFIX "UnknownOption"
#define ERROR_NO_SUCH_DEVICE   ERROR_PREFIX "NoSuchDevice"
#define ERROR_NO_SUCH_LEASE    ERROR_PREFIX "NoSuchLease"
#define ERROR_NO_SUCH_CGROUP   ERROR_PREFIX "NoSuchCGroup"
#define ERROR_NOT_AUTHORIZED   ERROR_PREFIX "NotAuthorized"
#define ERROR_CLIENT_GONE      ERROR_PREFIX "ClientGone" /* the process that asks, or is asked for, has ended */
#define ERROR_DEVICE_BUSY      ERROR_PREFIX "DeviceBusy" /* leased, or on its way back */
#define ERROR_DEVICE_BROKEN    ERROR_PREFIX "DeviceBroken"
#define ERROR_DEVICE_NOT_CLEAN                                                                                         \
        ERROR_PREFIX "DeviceNotClean"                     /* another user's lease left it, and it could not be reset */
#define ERROR_DEVICE_IN_USE    ERROR_PREFIX "DeviceInUse" /* by the host */
#define ERROR_GROUP_NOT_VIABLE ERROR_PREFIX "GroupNotViable"
#define ERROR_NO_ISOLATION     ERROR_PREFIX "NoIsolation"
#define ERROR_DRIVER_MISMATCH  ERROR_PREFIX "DriverMismatch"
#define ERROR_LIMIT_EXCEEDED   ERROR_PREFIX "LimitExceeded"
#define ERROR_QUOTA_EXCEEDED                                                                                           \
        ERROR_PREFIX "QuotaExceeded" /* PASIDs; the text names the cgroup, its limit and what is left */
#define ERROR_WRONG_LIFELINE ERROR_PREFIX "WrongLifeline"
#define ERROR_NOT_SUPPORTED  ERROR_PREFIX "NotSupported"
#define ERROR_KERNEL_REFUSED ERROR_PREFIX "KernelRefused" /* the text has the step and the errno */
#define ERROR_CONFIGURATION  ERROR_PREFIX "BadConfiguration"
#define ERROR_FAILED         ERROR_PREFIX "Failed"
