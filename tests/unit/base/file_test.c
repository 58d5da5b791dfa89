#include "sidecar/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A pipe that holds so many bytes, and whose writer is gone. */
static int pipe_of(size_t n)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(write(fds[1], "x", 1), 1);
    close(fds[1]);
    return fds[0];
}

static void a_file_is_read_whole_behind_what_is_there(void **state)
{
    char path[] = "/tmp/outrigger-file-XXXXXX";
    struct buf b = {0};
    int fd = mkstemp(path);
    (void)state;
    assert_int_equal(write(fd, "whole", 5), 5);
    close(fd);
    buf_append_c(&b, "a ");
    assert_int_equal(file_read(path, 5, &b), 0);
    assert_true(str_eq_c(buf_str(&b), "a whole"));
    assert_int_equal(file_read(path, 4, &b), -EFBIG);
    unlink(path);
    assert_int_equal(file_read(path, 5, &b), -ENOENT);
    assert_int_equal(file_read("/", 5, &b), -EISDIR);
    buf_fini(&b);
}

static void a_pipe_is_read_to_its_end_or_limit(void **state)
{
    static const struct {
        size_t n, max;
        int rc;
    } cases[] = {{0, 10, 0}, {10, 10, 0}, {11, 10, -EFBIG}, {1, 0, -EFBIG}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = {0};
        int fd = pipe_of(cases[i].n);
        assert_int_equal(file_read_fd(fd, cases[i].max, &b), cases[i].rc);
        if (cases[i].rc == 0)
            assert_int_equal(buf_len(&b), cases[i].n);
        close(fd);
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_behind_what_is_there),
        cmocka_unit_test(a_pipe_is_read_to_its_end_or_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
