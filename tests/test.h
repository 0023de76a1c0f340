/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

/* Included once by each test program. TEST(name) { ... } registers itself. A failed assertion ends its test only. */

typedef struct Test {
        const char *name;
        void (*run)(void);
} Test;

static Test test_table[256];
static unsigned test_count;
static jmp_buf test_end;

#define TEST(name)                                                                                                     \
        static void test_##name(void);                                                                                 \
        __attribute__((__constructor__)) static void test_register_##name(void) {                                      \
                if (test_count == sizeof(test_table) / sizeof(test_table[0]))                                          \
                        __builtin_trap();                                                                              \
                test_table[test_count++] = (Test) { #name, test_##name };                                              \
        }                                                                                                              \
        static void test_##name(void)

#define TEST_FAIL(...)                                                                                                 \
        do {                                                                                                           \
                printf("%s:%d: ", __FILE__, __LINE__);                                                                 \
                printf(__VA_ARGS__);                                                                                   \
                putchar('\n');                                                                                         \
                longjmp(test_end, 1);                                                                                  \
        } while (0)

#define ASSERT_TRUE(condition)                                                                                         \
        do {                                                                                                           \
                if (!(condition))                                                                                      \
                        TEST_FAIL("not so: %s", #condition);                                                           \
        } while (0)
#define ASSERT_OK(expression)                                                                                          \
        do {                                                                                                           \
                long long _r = (expression);                                                                           \
                if (_r < 0)                                                                                            \
                        TEST_FAIL("%s is %lld (%s)", #expression, _r, strerror((int) -_r));                            \
        } while (0)
#define ASSERT_EQ(a, b)                                                                                                \
        do {                                                                                                           \
                long long _x = (long long) (a), _y = (long long) (b);                                                  \
                if (_x != _y)                                                                                          \
                        TEST_FAIL("%s is %lld, and %s is %lld", #a, _x, #b, _y);                                       \
        } while (0)
#define ASSERT_ERROR(expression, error) ASSERT_EQ(expression, -(error))
/* A function, so that ADDRESS(a), which lives until the end of the full expression, may be an argument. */
#define ASSERT_STREQ(a, b) test_streq(__FILE__, __LINE__, #a, a, #b, b)

__attribute__((__unused__)) static void test_streq(const char *file, int line, const char *an, const char *a,
                                                   const char *bn, const char *b) {
        if (a && b && strcmp(a, b) == 0)
                return;
        printf("%s:%d: %s is \"%s\", and %s is \"%s\"\n", file, line, an, a ? a : "NULL", bn, b ? b : "NULL");
        longjmp(test_end, 1);
}

int main(void) {
        static unsigned i, failed; /* static: longjmp() may spoil locals */

        setvbuf(stdout, NULL, _IOLBF, 0);
        for (i = 0; i < test_count; i++) {
                if (setjmp(test_end) == 0) {
                        test_table[i].run();
                        printf("ok %s\n", test_table[i].name);
                } else {
                        printf("FAILED %s\n", test_table[i].name);
                        failed++;
                }
        }
        printf("%u passed, %u failed\n", test_count - failed, failed);
        return failed > 0 || test_count == 0;
}
