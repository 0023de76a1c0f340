/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/kernel.h"

/* A tree of files that looks like /sys, /proc and /dev, and the Linux implementation of KernelOps over it. Included once by
 * each test program. */

#define CHECK(condition)                                                                                               \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                        \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

static char root[] = "/tmp/test-tree.XXXXXX";
static Kernel *kernel;

static inline const char *below(const char *path) {
        static char full[512];

        (void) snprintf(full, sizeof(full), "%s/%s", root, path);
        return full;
}

static inline void make_parents(const char *path) {
        char full[512];

        (void) snprintf(full, sizeof(full), "%s", below(path));
        for (char *p = strchr(full + 1, '/'); p; p = strchr(p + 1, '/')) {
                *p = '\0';
                CHECK(mkdir(full, 0755) == 0 || errno == EEXIST);
                *p = '/';
        }
}

static inline void put_bytes(const char *path, const void *content, size_t size) {
        FILE *f;

        make_parents(path);
        f = fopen(below(path), "we");
        CHECK(f);
        CHECK(fwrite(content, 1, size, f) == size);
        CHECK(fclose(f) == 0);
}

static inline void put(const char *path, const char *content) {
        put_bytes(path, content, strlen(content));
}

static inline void put_directory(const char *path) {
        make_parents(path);
        CHECK(mkdir(below(path), 0755) == 0 || errno == EEXIST);
}

static inline void put_link(const char *path, const char *target) {
        make_parents(path);
        CHECK(symlink(target, below(path)) == 0);
}

static inline void get(const char *path, char *buf, size_t size) {
        FILE *f = fopen(below(path), "re");
        size_t n;

        CHECK(f);
        n = fread(buf, 1, size - 1, f);
        buf[n] = '\0';
        CHECK(fclose(f) == 0);
}

static inline Address address(const char *text) {
        Address a = {};

        CHECK(address_parse(text, &a) == 0);
        return a;
}

#define ROOT_BUS "sys/devices/pci0000:00/"
#define NVME     ROOT_BUS "0000:00:01.0/0000:01:00.0/"
#define NIC      ROOT_BUS "0000:00:02.0/"
#define VF       ROOT_BUS "0000:00:02.1/"

static inline void put_device(const char *directory, const char *class) {
        const char *slash = strchr(directory, '/');
        char path[256], target[300], name[32] = "";
        size_t n = strlen(directory) - 1;

        while (directory[n - 1] != '/')
                n--;
        (void) snprintf(name, sizeof(name), "%.*s", (int) strcspn(directory + n, "/"), directory + n);
        (void) snprintf(path, sizeof(path), "sys/bus/pci/devices/%s", name);
        (void) snprintf(target, sizeof(target), "../../../%.*s", (int) strlen(slash + 1) - 1, slash + 1);
        put_link(path, target);

        const char *files[][2] = {
                { "vendor", "0x8086\n" },
                { "device", "0x10d3\n" },
                { "subsystem_vendor", "0x1af4\n" },
                { "subsystem_device", "0x1100\n" },
                { "class", class },
                { "modalias", "pci:v00008086d000010D3\n" },
                { "driver_override", "(null)\n" },
        };
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                (void) snprintf(path, sizeof(path), "%s%s", directory, files[i][0]);
                put(path, files[i][1]);
        }
}

static inline void tree_begin(void) {
        CHECK(mkdtemp(root));
        CHECK(kernel_linux_new(root, &kernel) == 0);
}

static inline void tree_end(void) {
        char command[64];

        kernel = kernel_linux_free(kernel);
        (void) snprintf(command, sizeof(command), "rm -rf %s", root);
        CHECK(system(command) == 0);
}
