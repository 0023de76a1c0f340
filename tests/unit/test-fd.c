/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../test.h"
#include "util/fd.h"

static int make_directory(void) {
        char path[] = "/tmp/test-fd.XXXXXX";
        int fd;

        if (!mkdtemp(path))
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* An unlinked directory takes no files, so it stays until the test has emptied it. */
        return fd < 0 ? -errno : fd;
}

static void remove_directory(int *fd) {
        static const char *const names[] = { "a", ".a.new", "b" };
        char link[64], path[256];
        ssize_t n;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                (void) unlinkat(*fd, names[i], 0);
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", *fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n > 0) {
                path[n] = '\0';
                (void) rmdir(path);
        }
        fd_close(*fd);
}

TEST(blanked_descriptor_lets_go_of_its_file_and_keeps_its_number) {
        int fds[2], copy;
        char c;

        ASSERT_OK(pipe2(fds, O_CLOEXEC | O_NONBLOCK));
        copy = fd_dup(fds[1]);
        ASSERT_OK(copy);
        ASSERT_OK(fd_blank(copy));
        fds[1] = fd_close(fds[1]);
        ASSERT_EQ(read(fds[0], &c, 1), 0); /* nobody can write any more */
        ASSERT_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
        fd_close(copy);
        fd_close(fds[0]);
}

TEST(close_copes_with_none_and_keeps_errno) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ASSERT_OK(fd);
        errno = ENXIO;
        fd = fd_close(fd);
        ASSERT_EQ(errno, ENXIO);
        ASSERT_EQ(fd, -EBADF);
        ASSERT_EQ(fd_close(fd), -EBADF);
        ASSERT_EQ(errno, ENXIO);
}

TEST(dup_is_close_on_exec_and_no_standard_stream) {
        _cleanup_close_ int fd = fd_dup(STDOUT_FILENO);

        ASSERT_OK(fd);
        ASSERT_TRUE(fd >= 3);
        ASSERT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ASSERT_ERROR(fd_dup(-1), EBADF);
}

TEST(what_is_written_is_read) {
        _cleanup_(remove_directory) int dir = make_directory();
        char buf[8];

        ASSERT_OK(dir);
        ASSERT_ERROR(fd_read_text(dir, "a", buf, sizeof(buf)), ENOENT);
        ASSERT_ERROR(fd_write_text(dir, "a", "x"), ENOENT);
        ASSERT_OK(fd_replace_file(dir, "a", "1234567", 7, 0600));
        ASSERT_EQ(fd_read_text(dir, "a", buf, sizeof(buf)), 7);
        ASSERT_STREQ(buf, "1234567");
        ASSERT_OK(fd_replace_file(dir, "a", "12345678", 8, 0600));
        ASSERT_ERROR(fd_read_text(dir, "a", buf, sizeof(buf)), E2BIG);
        ASSERT_OK(fd_replace_file(dir, "a", "vfio\n\n", 6, 0600));
        ASSERT_EQ(fd_read_text(dir, "a", buf, sizeof(buf)), 4);
        ASSERT_STREQ(buf, "vfio");
        ASSERT_OK(fd_replace_file(dir, "a", "", 0, 0600));
        ASSERT_EQ(fd_read_text(dir, "a", buf, sizeof(buf)), 0);
        ASSERT_STREQ(buf, "");
        ASSERT_OK(fd_write_text(dir, "a", "x"));
        ASSERT_EQ(fd_read_text(dir, "a", buf, sizeof(buf)), 1);
}

TEST(replace_leaves_the_old_file_or_the_new_one) {
        _cleanup_(remove_directory) int dir = make_directory();
        char buf[8], name[300];
        struct stat st;

        ASSERT_OK(dir);
        ASSERT_OK(fd_replace_file(dir, "a", "old", 3, 0600));
        ASSERT_OK(fstatat(dir, "a", &st, 0));
        ASSERT_EQ(st.st_mode & 07777, 0600);

        /* What a crash left behind, be it a trap, does no harm. */
        ASSERT_OK(symlinkat("b", dir, ".a.new"));
        ASSERT_OK(fd_replace_file(dir, "a", "new", 3, 0600));
        ASSERT_ERROR(fd_read_text(dir, "b", buf, sizeof(buf)), ENOENT);
        ASSERT_EQ(fd_read_text(dir, "a", buf, sizeof(buf)), 3);
        ASSERT_STREQ(buf, "new");
        ASSERT_TRUE(faccessat(dir, ".a.new", F_OK, AT_SYMLINK_NOFOLLOW) < 0);

        memset(name, 'a', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        ASSERT_ERROR(fd_replace_file(dir, name, "x", 1, 0600), ENAMETOOLONG);
}

TEST(the_errno_of_the_kernel_comes_through) {
        char buf[8];

        ASSERT_ERROR(fd_write_text(AT_FDCWD, "/dev/full", "x"), ENOSPC);
        ASSERT_ERROR(fd_read_text(AT_FDCWD, "/", buf, sizeof(buf)), EISDIR);
}
