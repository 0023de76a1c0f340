/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* The registers of QEMU's educational device (its docs/specs/edu.rst), in BAR 0. */

enum {
        EDU_BAR = 0,
        EDU_ID = 0x00,        /* EDU_ID_VALUE and the version */
        EDU_LIVENESS = 0x04,  /* reads as the inverse of what was written */
        EDU_FACTORIAL = 0x08, /* becomes the factorial of what was written */
        EDU_STATUS = 0x20,
        EDU_INTERRUPT_STATUS = 0x24,
        EDU_INTERRUPT_RAISE = 0x60,
        EDU_INTERRUPT_ACK = 0x64,
        EDU_DMA_SOURCE = 0x80, /* this and the next three have 64 bits */
        EDU_DMA_DESTINATION = 0x88,
        EDU_DMA_COUNT = 0x90,
        EDU_DMA_COMMAND = 0x98,
        EDU_BAR_SIZE = 0x100000,
};

enum {
        EDU_ID_VALUE = 0xed,
        EDU_STATUS_COMPUTING = 0x01,
        EDU_STATUS_INTERRUPT = 0x80, /* wanted when the factorial is there */
        EDU_INTERRUPT_FACTORIAL = 0x001,
        EDU_INTERRUPT_DMA = 0x100,
        EDU_DMA_START = 0x01,
        EDU_DMA_TO_MEMORY = 0x02, /* else from memory */
        EDU_DMA_INTERRUPT = 0x04, /* wanted when it is done */
        EDU_BUFFER = 0x40000,     /* the device's own memory, as DMA addresses it */
        EDU_BUFFER_SIZE = 4096,
};
