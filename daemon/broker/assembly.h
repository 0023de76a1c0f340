/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Puts the broker together out of its parts, and takes it apart. */

typedef struct BrokerDirectories {
        const char *runtime, *state; /* /run/iommud, /var/lib/iommud */
} BrokerDirectories;

/* config and variants are taken over. */
int assembly_new(sd_event *event, Kernel *kernel, BrokerDirectories directories, Config config, VariantTable variants,
                 Broker **ret);
Broker *assembly_free(Broker *b);
DEFINE_CLEANUP(Broker, assembly_free)
