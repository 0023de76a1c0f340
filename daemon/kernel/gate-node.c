/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>

#include "bpf/gate.h"
#include "kernel/gate-map.h"
#include "kernel/gate.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

/* Which drivers have SVA: those in the kernel that call iommu_sva_bind_device() when their node is opened (7.2). Some share their major
 * with drivers that have not; of such a major only the nodes of other drivers are let through, so that one that comes while nobody
 * looks is not. */
typedef struct Kind {
        const char *major;  /* as in /proc/devices */
        const char *class;  /* NULL: all nodes have SVA */
        const char *driver; /* whose nodes have */
} Kind;

static const Kind kinds[] = {
        { "dsa", NULL, NULL }, /* idxd */
        { "iax", NULL, NULL },           { "uacce", NULL, NULL },
        { "uio", "uio", "uio_pci_sva" }, { "accel", "accel", "amdxdna" },
};

/* The major of this name among the lines of /proc/devices, 0 if no driver has it. */
static unsigned find_major(const char *text, const char *name) {
        const char *end = strstr(text, "Block devices:"), *line;
        char found[64];
        unsigned major;

        for (line = text; line && (!end || line < end); line = strchr(line, '\n'), line = line ? line + 1 : NULL)
                if (sscanf(line, " %u %63s", &major, found) == 2 && streq(found, name))
                        return major;
        return 0;
}

/* Is that one in a directory of its class on another driver? Its number is put there. */
static bool has_other_driver(int class_fd, const char *name, const Kind *kind, uint32_t *ret) {
        char path[300], driver[256], text[32];
        unsigned major, minor;

        (void) snprintf(path, sizeof(path), "%s/device/driver", name);
        if (sysfs_read_link_name(class_fd, path, driver, sizeof(driver)) < 0)
                return false;
        (void) snprintf(path, sizeof(path), "%s/dev", name);
        if (fd_read_text(class_fd, path, text, sizeof(text)) < 0 || sscanf(text, "%u:%u", &major, &minor) != 2)
                return false;
        *ret = gate_map_number(major, minor);
        return !streq(driver, kind->driver);
}

typedef struct Numbers {
        uint32_t *items;
        size_t n;
} Numbers;

static int add_number(Numbers *list, uint32_t number) {
        uint32_t *grown = reallocarray(list->items, list->n + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        list->items = grown;
        grown[list->n++] = number;
        return 0;
}

static int list_others(int root_fd, const Kind *kind, Numbers *list) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[64];
        const char *name;
        int r;

        (void) snprintf(path, sizeof(path), "sys/class/%s", kind->class);
        r = sysfs_open_directory(root_fd, path, &dir);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while ((r = sysfs_next(dir, &name)) > 0) {
                uint32_t number;

                if (!has_other_driver(dirfd(dir), name, kind, &number))
                        continue;
                r = add_number(list, number);
                if (r < 0)
                        return r;
        }
        return r;
}

static int drop_gone(int map, const void *key, void *userdata) {
        const Numbers *there = userdata;
        uint32_t number = *(const uint32_t *) key;

        for (size_t i = 0; i < there->n; i++)
                if (there->items[i] == number)
                        return 0;
        return (number & GATE_ANY_MINOR) == GATE_ANY_MINOR ? 0 : bpf_map_delete_elem(map, key);
}

int gate_note_nodes(const Gate *g, int root_fd) {
        static const uint32_t yes = true, no = false;
        char text[8192];
        Numbers others = {};
        uint32_t key, next;
        int map = g->maps[GATE_MAP_NODES], r = fd_read_text(root_fd, "proc/devices", text, sizeof(text));

        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(kinds); i++) {
                unsigned major = find_major(text, kinds[i].major);

                key = gate_map_number(major, GATE_ANY_MINOR);
                r = major > 0 ? gate_map_put(map, &key, &yes, BPF_ANY) : 0;
                if (r >= 0 && major > 0 && kinds[i].class)
                        r = list_others(root_fd, &kinds[i], &others);
        }
        /* First what has gone: its number may be that of another one soon. */
        if (r >= 0)
                r = gate_map_for_each(map, &key, &next, sizeof(key), drop_gone, &others);
        for (size_t i = 0; r >= 0 && i < others.n; i++)
                r = gate_map_put(map, &others.items[i], &no, BPF_ANY);
        free(others.items);
        return r;
}
