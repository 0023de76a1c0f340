/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "system/aliases.h"
#include "util/fd.h"
#include "util/text.h"

/* The name under which a loaded module drives PCI devices; by rule if the module is not loaded. */
static void driver_of_module(const char *root, const char *module, char driver[NAME_MAX_LEN]) {
        static const char prefix[] = "pci:";
        char path[PATH_MAX];
        struct dirent *e;
        DIR *dir;

        (void) text_copy(driver, NAME_MAX_LEN, variant_driver_of_module(module));
        (void) snprintf(path, sizeof(path), "%s/sys/module/%s/drivers", root, module);
        dir = opendir(path);
        if (!dir)
                return;
        while ((e = readdir(dir)))
                if (strncmp(e->d_name, prefix, strlen(prefix)) == 0)
                        (void) text_copy(driver, NAME_MAX_LEN, e->d_name + strlen(prefix));
        (void) closedir(dir);
}

static int add(const char *root, VariantTable *t, const char *pattern, const char *module) {
        char driver[NAME_MAX_LEN];
        int r;

        if (strncmp(pattern, "vfio_pci:", strlen("vfio_pci:")) != 0 || isempty(module) ||
            strlen(module) >= sizeof(driver))
                return 0;
        driver_of_module(root, module, driver);
        r = variant_table_add(t, pattern, module, driver);
        /* An alias longer than the kernel makes them matches nothing of ours. */
        return r == -EINVAL ? 0 : r;
}

int aliases_parse(const char *root, char *text, VariantTable *t) {
        char *line, *save = NULL;

        for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *words = NULL, *keyword = strtok_r(line, " ", &words);
                char *pattern = strtok_r(NULL, " ", &words), *module = strtok_r(NULL, " ", &words);
                int r;

                if (!keyword || !streq(keyword, "alias") || !pattern || !module)
                        continue;
                r = add(root, t, pattern, module);
                if (r < 0)
                        return r;
        }
        return 0;
}

int aliases_parse_builtin(const char *root, const char *text, size_t size, VariantTable *t) {
        static const char key[] = ".alias=";
        size_t at = 0;

        while (at < size) {
                const char *entry = text + at, *found;
                size_t length = strnlen(entry, size - at);
                char module[NAME_MAX_LEN];
                int r;

                if (at + length == size)
                        break; /* no NUL: cut off */
                at += length + 1;
                found = strstr(entry, key);
                if (!found || (size_t) (found - entry) >= sizeof(module))
                        continue;
                memcpy(module, entry, (size_t) (found - entry));
                module[found - entry] = '\0';
                r = add(root, t, found + strlen(key), module);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Reads a file of unknown size whole; *ret is ended by a NUL. 0 with *ret NULL if there is no such file. */
static int read_whole(const char *path, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        struct stat st;

        *ret = NULL;
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size > (64 << 20))
                return -EFBIG;
        text = malloc((size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        while (size < (size_t) st.st_size) {
                ssize_t n = read(fd, text + size, (size_t) st.st_size - size);

                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        text[size] = '\0';
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

int aliases_read(const char *root, VariantTable *ret) {
        _cleanup_free_ char *loadable = NULL, *builtin = NULL;
        VariantTable t = {};
        char path[PATH_MAX];
        struct utsname uts;
        size_t size;
        int r;

        if (uname(&uts) < 0)
                return -errno;
        (void) snprintf(path, sizeof(path), "%s/lib/modules/%s/modules.alias", root, uts.release);
        r = read_whole(path, &loadable, &size);
        if (r >= 0 && loadable)
                r = aliases_parse(root, loadable, &t);
        if (r >= 0) {
                (void) snprintf(path, sizeof(path), "%s/lib/modules/%s/modules.builtin.modinfo", root, uts.release);
                r = read_whole(path, &builtin, &size);
        }
        if (r >= 0 && builtin)
                r = aliases_parse_builtin(root, builtin, size, &t);
        if (r < 0) {
                variant_table_clear(&t);
                return r;
        }
        *ret = t;
        return 0;
}
