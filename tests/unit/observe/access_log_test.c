/* Log files: whole lines, rotation, a reader that stalls or leaves. */
#include "sidecar/observe/access_log.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/outrigger-access-XXXXXX";

static char *path_in_dir(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

static char *read_fd(int fd)
{
    struct buf b = {0};
    for (;;) {
        ssize_t n = read(fd, buf_reserve(&b, 65536), 65536);
        if (n <= 0)
            break;
        buf_commit(&b, (size_t)n);
    }
    return buf_take(&b);
}

static void assert_file(const char *path, const char *expected)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    char *text = read_fd(fd);
    close(fd);
    assert_string_equal(text, expected);
    free(text);
}

static struct access_log *opened(const char *path)
{
    int error = 0;
    struct access_log *l = access_log_ref(path, &error);
    assert_int_equal(error, 0);
    assert_non_null(l);
    return l;
}

static void lines_are_appended_at_a_flush(void **state)
{
    (void)state;
    char *path = path_in_dir("a");
    FILE *f = fopen(path, "w");
    fputs("old\n", f);
    fclose(f);
    struct access_log *l = opened(path);
    access_log_line(l, 1, STR("one\n"));
    access_log_line(l, 1, STR(""));
    access_log_line(l, 2, STR("other row\n"));
    assert_true(access_log_drain(2000));
    assert_file(path, "old\n");
    access_log_flush_all(1);
    assert_true(access_log_drain(2000));
    assert_file(path, "old\none\n");
    access_log_flush_all(2);
    assert_true(access_log_drain(2000));
    assert_file(path, "old\none\nother row\n");
    access_log_unref(&l);
    assert_null(l);
    assert_true(access_log_drain(2000));
    free(path);
}

static void one_path_is_one_log_and_its_last_user_writes_the_rest(void **state)
{
    (void)state;
    char *path = path_in_dir("b");
    struct access_log *l = opened(path), *again = opened(path);
    assert_ptr_equal(l, again);
    access_log_line(l, 3, STR("x\n"));
    access_log_unref(&l);
    access_log_line(again, 3, STR("y\n"));
    access_log_unref(&again);
    assert_true(access_log_drain(2000));
    assert_file(path, "x\ny\n");
    struct access_log *anew = opened(path);
    access_log_line(anew, 0, STR("z\n"));
    access_log_unref(&anew);
    assert_true(access_log_drain(2000));
    assert_file(path, "x\ny\nz\n");
    free(path);
}

static void a_file_that_cannot_be_opened_is_an_error(void **state)
{
    (void)state;
    int error = 0;
    assert_null(access_log_ref("/nonexistent/dir/log", &error));
    assert_int_equal(error, -ENOENT);
    char *fifo = path_in_dir("no-reader");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_null(access_log_ref(fifo, &error));
    assert_int_equal(error, -ENXIO);
    free(fifo);
}

static void reopening_follows_a_rotation(void **state)
{
    (void)state;
    char *path = path_in_dir("r"), *old = path_in_dir("r.1");
    struct access_log *l = opened(path);
    access_log_line(l, 0, STR("before\n"));
    access_log_flush_all(0);
    assert_true(access_log_drain(2000));
    assert_int_equal(rename(path, old), 0);
    access_log_reopen_all();
    assert_true(access_log_drain(2000));
    access_log_line(l, 0, STR("after\n"));
    access_log_unref(&l);
    assert_true(access_log_drain(2000));
    assert_file(old, "before\n");
    assert_file(path, "after\n");
    free(path);
    free(old);
}

static void standard_output_is_a_log(void **state)
{
    (void)state;
    int pipe_fds[2], saved = dup(STDOUT_FILENO);
    fflush(stdout);
    assert_int_equal(pipe(pipe_fds), 0);
    dup2(pipe_fds[1], STDOUT_FILENO);
    struct access_log *l = opened("/dev/stdout");
    access_log_line(l, 0, STR("to stdout\n"));
    access_log_reopen_all(); /* nothing to reopen here */
    access_log_unref(&l);
    bool drained = access_log_drain(2000);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(pipe_fds[1]);
    char *text = read_fd(pipe_fds[0]);
    close(pipe_fds[0]);
    assert_true(drained);
    assert_string_equal(text, "to stdout\n");
    free(text);
}

#define LINES 20000

struct row {
    struct access_log *log;
    unsigned number;
};

static void *write_lines(void *arg)
{
    struct row *r = arg;
    char line[64];
    for (unsigned i = 0; i < LINES; i++) {
        snprintf(line, sizeof(line), "row %u line %05u\n", r->number, i);
        access_log_line(r->log, r->number, str_of(line));
        if (i % 1000 == 0)
            access_log_flush_all(r->number);
    }
    return NULL;
}

/* Each row's lines in order, none torn, none lost. */
static void rows_write_whole_lines_at_once(void **state)
{
    (void)state;
    char *path = path_in_dir("t");
    struct access_log *l = opened(path);
    struct row rows[] = {{l, 1}, {l, 2}, {l, 3}};
    pthread_t threads[ARRAY_LEN(rows)];
    unsigned next[4] = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &rows[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        pthread_join(threads[i], NULL);
    access_log_unref(&l);
    assert_true(access_log_drain(10000));
    FILE *f = fopen(path, "r");
    char line[128];
    while (fgets(line, sizeof(line), f)) {
        unsigned row, number;
        char end;
        assert_int_equal(sscanf(line, "row %u line %u%c", &row, &number, &end), 3);
        assert_true(row >= 1 && row <= 3 && end == '\n');
        assert_int_equal(number, next[row]++);
    }
    fclose(f);
    for (size_t i = 1; i <= 3; i++)
        assert_int_equal(next[i], LINES);
    free(path);
}

static char *open_fifo(const char *name, int *reader_r)
{
    char *path = path_in_dir(name);
    assert_int_equal(mkfifo(path, 0600), 0);
    *reader_r = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(*reader_r >= 0);
    fcntl(*reader_r, F_SETFL, 0);
    return path;
}

static void a_stalled_reader_costs_lines_but_no_time_and_no_memory(void **state)
{
    (void)state;
    int reader;
    char *path = open_fifo("stalled", &reader), line[1024];
    struct access_log *l = opened(path);
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    uint64_t before = clock_mono_ns();
    for (unsigned i = 0; i < 40000; i++)
        access_log_line(l, 1, str_n(line, sizeof(line)));
    assert_true(clock_mono_ns() - before < 5000000000u);
    assert_false(access_log_drain(50));
    access_log_unref(&l);
    /* The reader wakes up: all that waited arrives, whole. */
    char *text = read_fd(reader);
    size_t n = strlen(text);
    assert_int_equal(n % sizeof(line), 0);
    assert_in_range(n, 8u * 1024 * 1024, 9u * 1024 * 1024);
    for (size_t i = sizeof(line) - 1; i < n; i += sizeof(line))
        assert_int_equal(text[i], '\n');
    free(text);
    close(reader);
    assert_true(access_log_drain(2000));
    free(path);
}

static void a_reader_that_leaves_ends_nothing(void **state)
{
    (void)state;
    int reader;
    char *path = open_fifo("gone", &reader);
    struct access_log *l = opened(path);
    close(reader);
    access_log_line(l, 1, STR("lost\n"));
    access_log_flush_all(1);
    assert_true(access_log_drain(2000));
    access_log_unref(&l);
    assert_true(access_log_drain(2000));
    free(path);
}

static void a_line_longer_than_a_chunk_is_written_whole(void **state)
{
    (void)state;
    char *path = path_in_dir("long"), *line = xmalloc(200001);
    memset(line, 'x', 199999);
    line[199999] = '\n';
    line[200000] = '\0';
    struct access_log *l = opened(path);
    access_log_line(l, 1, str_of(line));
    access_log_unref(&l);
    assert_true(access_log_drain(2000));
    assert_file(path, line);
    free(line);
    free(path);
}

static int make_dir(void **state)
{
    (void)state;
    log_set_level(LOG_OFF); /* the warnings about lost lines are meant */
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"a",    "b",         "r",       "r.1", "t",
                                        "long", "no-reader", "stalled", "gone"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = path_in_dir(names[i]);
        unlink(path);
        free(path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_appended_at_a_flush),
        cmocka_unit_test(one_path_is_one_log_and_its_last_user_writes_the_rest),
        cmocka_unit_test(a_file_that_cannot_be_opened_is_an_error),
        cmocka_unit_test(reopening_follows_a_rotation),
        cmocka_unit_test(standard_output_is_a_log),
        cmocka_unit_test(rows_write_whole_lines_at_once),
        cmocka_unit_test(a_stalled_reader_costs_lines_but_no_time_and_no_memory),
        cmocka_unit_test(a_reader_that_leaves_ends_nothing),
        cmocka_unit_test(a_line_longer_than_a_chunk_is_written_whole),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
