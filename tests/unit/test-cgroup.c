/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../test.h"
#include "system/cgroup-tree.h"
#include "system/cgroup.h"
#include "util/text.h"

/* Cgroups made of directories: where they are delegated, and what cannot be known. */

static char root[64];
static CGroup cgroup;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f) {
        (void) st;
        (void) type;
        (void) f;
        return remove(path);
}

static const char *below(const char *path) {
        static char full[QUOTA_PATH_MAX + 64];

        (void) snprintf(full, sizeof(full), "%s%s", root, path);
        return full;
}

static void make(const char *path) {
        ASSERT_OK(mkdir(below(path), 0755));
}

static uint64_t inode(const char *path) {
        struct stat st;

        ASSERT_OK(stat(below(path), &st));
        return st.st_ino;
}

static void begin(void) {
        int fd;

        (void) snprintf(root, sizeof(root), "/tmp/cgroup-XXXXXX");
        ASSERT_TRUE(mkdtemp(root));
        fd = open(below("/cgroup.controllers"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        ASSERT_TRUE(fd >= 0);
        (void) close(fd);
        make("/a.slice");
        make("/a.slice/b.service");
        make("/a.slice/b.service/c");
}

static void end(void) {
        ASSERT_OK(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS));
}

TEST(the_chain_goes_from_the_cgroup_to_the_root) {
        begin();
        ASSERT_OK(cgroup_read(root, "/a.slice/b.service/c", &cgroup));
        ASSERT_STREQ(cgroup.path, "/a.slice/b.service/c");
        ASSERT_STREQ(cgroup.charged, "/a.slice/b.service/c");
        ASSERT_EQ(cgroup.chain.n_levels, 4);
        ASSERT_EQ(cgroup.chain.levels[0], inode("/a.slice/b.service/c"));
        ASSERT_EQ(cgroup.chain.levels[1], inode("/a.slice/b.service"));
        ASSERT_EQ(cgroup.chain.levels[3], inode("/"));
        ASSERT_OK(cgroup_read(root, "/", &cgroup));
        ASSERT_STREQ(cgroup.path, "/");
        ASSERT_STREQ(cgroup.charged, "/");
        ASSERT_EQ(cgroup.chain.n_levels, 1);
        end();
}

/* By systemd's mark, or by giving it to another user: each where the tests' own user and file system allow it. */
static void assert_charged_to_b(void) {
        ASSERT_OK(cgroup_read(root, "/a.slice/b.service/c", &cgroup));
        ASSERT_STREQ(cgroup.path, "/a.slice/b.service/c");
        ASSERT_STREQ(cgroup.charged, "/a.slice/b.service");
        ASSERT_EQ(cgroup.chain.n_levels, 4);
        /* What is at the boundary itself is charged to itself. */
        ASSERT_OK(cgroup_read(root, "/a.slice/b.service", &cgroup));
        ASSERT_STREQ(cgroup.charged, "/a.slice/b.service");
        ASSERT_OK(cgroup_read(root, "/a.slice", &cgroup));
        ASSERT_STREQ(cgroup.charged, "/a.slice");
}

TEST(below_a_cgroup_that_is_anothers_that_one_is_charged) {
        begin();
        ASSERT_OK(chown(below("/a.slice/b.service"), 1000, 1000));
        assert_charged_to_b();
        /* The uppermost counts: what is below can be made to look like anything. */
        ASSERT_OK(chown(below("/a.slice/b.service/c"), 1001, 1001));
        assert_charged_to_b();
        end();
}

TEST(below_a_cgroup_that_is_marked_that_one_is_charged) {
        begin();
        ASSERT_OK(setxattr(below("/a.slice/b.service"), "trusted.delegate", "1", 1, 0));
        assert_charged_to_b();
        ASSERT_OK(setxattr(below("/a.slice/b.service"), "trusted.delegate", "0", 1, 0));
        ASSERT_OK(cgroup_read(root, "/a.slice/b.service/c", &cgroup));
        ASSERT_STREQ(cgroup.charged, "/a.slice/b.service/c");
        end();
}

TEST(what_cannot_be_printed_or_is_too_deep_is_charged_to_what_is_above) {
        char path[256] = "/a.slice";

        begin();
        make("/a.slice/\x1b");
        make("/a.slice/\x1b/d");
        ASSERT_OK(cgroup_read(root, "/a.slice/\x1b/d", &cgroup));
        ASSERT_STREQ(cgroup.path, "/a.slice");
        ASSERT_STREQ(cgroup.charged, "/a.slice");
        ASSERT_EQ(cgroup.chain.n_levels, 2);
        for (unsigned i = 0; i < PASID_LEVELS_MAX + 3; i++) {
                text_append(path, sizeof(path), "/x");
                make(path);
        }
        ASSERT_OK(cgroup_read(root, path, &cgroup));
        ASSERT_EQ(cgroup.chain.n_levels, PASID_LEVELS_MAX);
        ASSERT_EQ(cgroup.chain.levels[PASID_LEVELS_MAX - 1], inode("/"));
        ASSERT_EQ(cgroup.chain.levels[0], inode(cgroup.path));
        ASSERT_EQ(strlen(cgroup.path), strlen("/a.slice") + 2 * (PASID_LEVELS_MAX - 2));
        end();
}

TEST(what_is_not_there_is_not_guessed) {
        begin();
        ASSERT_ERROR(cgroup_read(root, "/a.slice/none", &cgroup), ENOENT);
        ASSERT_ERROR(cgroup_read(root, "/../a.slice", &cgroup), ENOENT);
        ASSERT_ERROR(cgroup_read(root, "a.slice", &cgroup), ENOENT);
        ASSERT_ERROR(cgroup_read("/nonexistent", "/", &cgroup), EOPNOTSUPP);
        ASSERT_OK(symlink("/etc", below("/link")));
        ASSERT_TRUE(cgroup_read(root, "/link", &cgroup) < 0);
        ASSERT_OK(unlink(below("/cgroup.controllers")));
        ASSERT_ERROR(cgroup_read(root, "/a.slice", &cgroup), EOPNOTSUPP);
        end();
}

/* --- the tree --- */

static char told[1024];

/* " /path" for each that came, " /path!" for one that nothing below can be told of. */
static void on_cgroup(const CGroupNode *node, void *userdata) {
        (void) userdata;
        text_append(told, sizeof(told), " %s%s", node->path, node->is_leaf ? "!" : "");
}

static const CGroupNode *node_of(const CGroupTree *t, const char *path) {
        size_t n;
        const CGroupNode *nodes = cgroup_tree_nodes(t, &n);

        for (size_t i = 0; i < n; i++)
                if (streq(nodes[i].path, path))
                        return &nodes[i];
        return NULL;
}

static void assert_told(sd_event *event, const char *what) {
        while (sd_event_run(event, 0) > 0)
                ;
        ASSERT_STREQ(told, what);
        told[0] = '\0';
}

TEST(the_tree_follows_what_comes_and_goes) {
        sd_event *event;
        CGroupTree *t;

        begin();
        ASSERT_OK(sd_event_new(&event));
        told[0] = '\0';
        ASSERT_OK(cgroup_tree_new(event, root, on_cgroup, NULL, &t));
        assert_told(event, " / /a.slice /a.slice/b.service /a.slice/b.service/c");
        ASSERT_EQ(node_of(t, "/a.slice")->id, inode("/a.slice"));
        /* With what is in it by the time that it is looked at. */
        make("/a.slice/d");
        make("/a.slice/d/e");
        assert_told(event, " /a.slice/d /a.slice/d/e");
        ASSERT_OK(rmdir(below("/a.slice/d/e")));
        ASSERT_OK(rmdir(below("/a.slice/d")));
        make("/a.slice/d");
        assert_told(event, " /a.slice/d");
        ASSERT_TRUE(!node_of(t, "/a.slice/d/e"));
        ASSERT_EQ(node_of(t, "/a.slice/d")->id, inode("/a.slice/d"));
        /* What is delegated ends it there, whatever comes below. */
        ASSERT_OK(chown(below("/a.slice/b.service"), 1000, 1000));
        assert_told(event, " /a.slice/b.service!");
        make("/a.slice/b.service/x");
        make("/a.slice/\x1b");
        assert_told(event, " /a.slice/\x1b!");
        ASSERT_TRUE(!node_of(t, "/a.slice/b.service/c") && !node_of(t, "/a.slice/b.service/x"));
        ASSERT_OK(chown(below("/a.slice/b.service"), 0, 0));
        while (sd_event_run(event, 0) > 0)
                ;
        ASSERT_TRUE(node_of(t, "/a.slice/b.service/c") && node_of(t, "/a.slice/b.service/x"));
        cgroup_tree_free(t);
        sd_event_unref(event);
        end();
}
