/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "system/cgroup-tree.h"
#include "system/cgroup.h"
#include "system/inotify.h"
#include "system/journal.h"
#include "util/fd.h"
#include "util/text.h"

/* A cgroup is watched for its children: they come, go, and are delegated (an attribute or another owner). */
#define MASK (IN_CREATE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR)

struct CGroupTree {
        char *root;
        int inotify;
        sd_event_source *source;
        CGroupNode *nodes;
        size_t n;
        cgroup_tree_handler_t handler;
        void *userdata;
};

static void drop_node(CGroupTree *t, size_t i) {
        if (t->nodes[i].watch >= 0)
                (void) inotify_rm_watch(t->inotify,
                                        t->nodes[i].watch); /* EINVAL: the directory is gone, and the watch with it */
        free(t->nodes[i].path);
        t->nodes[i] = t->nodes[--t->n];
}

CGroupTree *cgroup_tree_free(CGroupTree *t) {
        if (!t)
                return NULL;
        while (t->n > 0)
                drop_node(t, t->n - 1);
        free(t->nodes);
        sd_event_source_disable_unref(t->source);
        fd_close(t->inotify);
        free(t->root);
        free(t);
        return NULL;
}

/* It and what is below. */
static void forget(CGroupTree *t, const char *path) {
        for (size_t i = t->n; i > 0; i--)
                if (quota_path_is_within(t->nodes[i - 1].path, path))
                        drop_node(t, i - 1);
}

static CGroupNode *find(const CGroupTree *t, const char *path) {
        for (size_t i = 0; i < t->n; i++)
                if (streq(t->nodes[i].path, path))
                        return &t->nodes[i];
        return NULL;
}

/* No limit can name what is not printable, and the kernel's side looks only so deep. */
static bool has_limits_below(int fd, const struct stat *st, const char *path) {
        unsigned depth = quota_path_depth(path);

        return depth == 0 || (!cgroup_is_delegated(fd, st) && text_is_printable(path) && depth < PASID_LEVELS_MAX - 1);
}

static int add_node(CGroupTree *t, const char *path, int fd, const struct stat *st, const CGroupNode **ret) {
        CGroupNode *grown = reallocarray(t->nodes, t->n + 1, sizeof(*grown));
        CGroupNode node = { .id = st->st_ino, .is_leaf = !has_limits_below(fd, st, path), .watch = -1 };
        char link[64];

        if (!grown)
                return -ENOMEM;
        t->nodes = grown;
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        /* Before its children are listed: what comes meanwhile is not missed. */
        if (!node.is_leaf)
                node.watch = inotify_add_watch(t->inotify, link, MASK);
        if (!node.is_leaf && node.watch < 0)
                return -errno;
        node.path = strdup(path);
        if (!node.path)
                return -ENOMEM;
        *ret = &grown[t->n];
        grown[t->n++] = node;
        return 0;
}

static int visit(CGroupTree *t, const char *path);

/* Takes fd over. */
static int visit_children(CGroupTree *t, const char *path, int fd) {
        DIR *d = fdopendir(fd);
        struct dirent *e;
        int r = 0;

        if (!d) {
                fd_close(fd);
                return -errno;
        }
        while (r >= 0 && (e = readdir(d))) {
                _cleanup_free_ char *child = NULL;

                if (e->d_type != DT_DIR || e->d_name[0] == '.')
                        continue;
                if (asprintf(&child, "%s/%s", path[1] == '\0' ? "" : path, e->d_name) < 0)
                        r = -ENOMEM;
                else
                        r = visit(t, child);
        }
        (void) closedir(d);
        return r;
}

/* Looks at a cgroup, and at all below it if it is new. */
static int visit(CGroupTree *t, const char *path) {
        _cleanup_free_ char *full = NULL;
        _cleanup_close_ int fd = -EBADF;
        const CGroupNode *node = find(t, path);
        struct stat st;
        int r;

        if (strlen(path) >= QUOTA_PATH_MAX)
                return 0;
        if (asprintf(&full, "%s%s", t->root, path) < 0)
                return -ENOMEM;
        fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || fstat(fd, &st) < 0)
                return errno == ENOENT || errno == ENODEV ? 0 : -errno;
        if (node && node->id == st.st_ino && node->is_leaf == !has_limits_below(fd, &st, path))
                return 0;
        forget(t, path);
        r = add_node(t, path, fd, &st, &node);
        if (r < 0)
                return r;
        t->handler(node, t->userdata);
        return node->is_leaf ? 0 : visit_children(t, path, TAKE_FD(fd));
}

static void complain(int r) {
        journal_log(LOG_ERR, "Cannot watch all cgroups, no PASIDs of SVA for those that are not known: %s",
                    strerror(-r));
}

static void note_change(CGroupTree *t, const struct inotify_event *e) {
        _cleanup_free_ char *path = NULL;
        const char *above = NULL;
        int r = 0;

        for (size_t i = 0; i < t->n; i++)
                if (t->nodes[i].watch == e->wd)
                        above = t->nodes[i].path;
        if (!above || !(e->mask & IN_ISDIR) || e->len == 0)
                return;
        if (asprintf(&path, "%s/%s", above[1] == '\0' ? "" : above, e->name) < 0)
                r = -ENOMEM;
        else if (e->mask & IN_DELETE)
                forget(t, path);
        else
                r = visit(t, path);
        if (r < 0)
                complain(r);
}

/* Looks at all of them. */
static void begin(CGroupTree *t) {
        int r;

        forget(t, "/");
        r = visit(t, "/");
        if (r < 0)
                complain(r);
}

static void on_event(const struct inotify_event *e, void *userdata) {
        if (e->mask & IN_Q_OVERFLOW)
                begin(userdata);
        else
                note_change(userdata, e);
}

static int on_readable(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata) {
        return inotify_read(fd, on_event, userdata);
}

int cgroup_tree_new(sd_event *event, const char *root, cgroup_tree_handler_t handler, void *userdata,
                    CGroupTree **ret) {
        _cleanup_(cgroup_tree_freep) CGroupTree *t = calloc(1, sizeof(*t));
        _cleanup_free_ CGroup *probe = malloc(sizeof(*probe));
        int r;

        if (!t || !probe)
                return -ENOMEM;
        r = cgroup_read(root, "/", probe);
        if (r < 0)
                return r;
        t->handler = handler;
        t->userdata = userdata;
        t->inotify = -EBADF;
        t->root = strdup(root);
        if (!t->root)
                return -ENOMEM;
        t->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (t->inotify < 0)
                return -errno;
        r = sd_event_add_io(event, &t->source, t->inotify, EPOLLIN, on_readable, t);
        /* Who is in a new cgroup waits for it. */
        if (r >= 0)
                r = sd_event_source_set_priority(t->source, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0)
                return r;
        begin(t);
        *ret = TAKE_PTR(t);
        return 0;
}

const CGroupNode *cgroup_tree_nodes(const CGroupTree *t, size_t *ret_n) {
        *ret_n = t->n;
        return t->nodes;
}
