#include "sidecar/base/die.h"
#include "sidecar/base/str.h"
#include "sidecar/net/timer.h"
#include "sidecar/net/watch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static struct watch *watch;
static unsigned calls;
static char dir[64];

static void on_change(void *ctx)
{
    (void)ctx;
    calls++;
}

static char *in(const char *name)
{
    static char path[2][192];
    static unsigned turn;
    char *p = path[turn++ % 2];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void write_file(const char *name)
{
    FILE *f = fopen(in(name), "w");
    assert_non_null(f);
    fputs("x", f);
    fclose(f);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/outrigger-watch-XXXXXX");
    assert_non_null(mkdtemp(dir));
    loop = loop_new();
    calls = 0;
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    watch_stop(&watch);
    loop_free(&loop);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : -1;
}

/* What was raised since the last call. */
static unsigned changes(void)
{
    loop_run_ready(loop);
    unsigned n = calls;
    calls = 0;
    return n;
}

static void begin(void)
{
    watch = watch_start(loop, dir, on_change, NULL);
    assert_non_null(watch);
    assert_int_equal(changes(), 0);
}

static void files_are_told_when_their_writer_closes_them(void **state)
{
    (void)state;
    begin();
    FILE *f = fopen(in("a.yaml"), "w");
    assert_int_equal(changes(), 0);
    fputs("half", f);
    fflush(f);
    assert_int_equal(changes(), 0);
    fclose(f);
    assert_int_equal(changes(), 1);
    assert_int_equal(rename(in("a.yaml"), in("b.yaml")), 0);
    assert_int_equal(changes(), 1);
    unlink(in("b.yaml"));
    assert_int_equal(changes(), 1);
}

static void many_changes_at_once_are_one_call(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%u", i);
        write_file(name);
    }
    assert_int_equal(changes(), 1);
}

static void directories_that_come_later_are_watched_too(void **state)
{
    (void)state;
    begin();
    mkdir(in("a"), 0700);
    mkdir(in("a/b"), 0700); /* before anybody could watch a */
    assert_true(changes() > 0);
    write_file("a/b/deep.yaml");
    assert_int_equal(changes(), 1);
    assert_int_equal(rename(in("a"), in("c")), 0);
    assert_true(changes() > 0);
    write_file("c/b/deep.yaml");
    assert_int_equal(changes(), 1);
}

static void a_directory_that_left_is_forgotten(void **state)
{
    char outside[80];
    (void)state;
    mkdir(in("a"), 0700);
    begin();
    snprintf(outside, sizeof(outside), "%s.outside", dir);
    assert_int_equal(rename(in("a"), outside), 0);
    assert_int_equal(changes(), 1);
    char *file = xasprintf("%s/f", outside);
    FILE *f = fopen(file, "w");
    fclose(f);
    assert_int_equal(changes(), 0);
    unlink(file);
    free(file);
    rmdir(outside);
}

static void hidden_directories_are_left_out(void **state)
{
    (void)state;
    mkdir(in(".git"), 0700);
    begin();
    write_file(".git/index");
    assert_int_equal(changes(), 0);
}

static void a_config_map_that_is_swapped_by_its_link_is_told(void **state)
{
    (void)state;
    mkdir(in("..2024_1"), 0700);
    write_file("..2024_1/mesh.yaml");
    (void)!symlink("..2024_1", in("..data"));
    (void)!symlink("..data/mesh.yaml", in("mesh.yaml"));
    begin();
    mkdir(in("..2024_2"), 0700);
    write_file("..2024_2/mesh.yaml");
    (void)!symlink("..2024_2", in("..data_tmp"));
    assert_true(changes() > 0);
    assert_int_equal(rename(in("..data_tmp"), in("..data")), 0);
    assert_int_equal(changes(), 1);
}

static void one_file_is_watched_through_its_directory(void **state)
{
    (void)state;
    write_file("cert.pem");
    char *path = xstrdup(in("cert.pem"));
    watch = watch_start(loop, path, on_change, NULL);
    free(path);
    assert_non_null(watch);
    write_file("other.pem");
    assert_int_equal(changes(), 0);
    write_file("cert.pem");
    assert_int_equal(changes(), 1);
    write_file("new.pem");
    rename(in("new.pem"), in("cert.pem"));
    assert_int_equal(changes(), 1);
    (void)!symlink("x", in("..data"));
    assert_int_equal(changes(), 1);
}

static void a_path_that_is_not_there_is_refused_with_errno(void **state)
{
    (void)state;
    errno = 0;
    assert_null(watch_start(loop, in("nothing"), on_change, NULL));
    assert_int_equal(errno, ENOENT);
}

static void stop(struct timer *t)
{
    loop_stop(t->loop);
}

static void a_root_that_vanishes_is_found_again(void **state)
{
    struct timer t;
    (void)state;
    begin();
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(changes(), 1);
    assert_int_equal(mkdir(dir, 0700), 0);
    timer_init(&t, loop, stop);
    timer_arm(&t, 1200);
    loop_run(loop);
    assert_int_equal(changes(), 1);
    write_file("a");
    assert_int_equal(changes(), 1);
}

static void stop_it(void *ctx)
{
    (void)ctx;
    calls++;
    watch_stop(&watch);
}

static void it_can_be_stopped_from_its_own_callback_and_before_it(void **state)
{
    (void)state;
    watch = watch_start(loop, dir, stop_it, NULL);
    write_file("a");
    assert_int_equal(changes(), 1);
    assert_null(watch);
    watch = watch_start(loop, dir, on_change, NULL);
    write_file("a");
    watch_stop(&watch);
    assert_int_equal(changes(), 0);
}

int main(void)
{
#define WATCH_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WATCH_TEST(files_are_told_when_their_writer_closes_them),
        WATCH_TEST(many_changes_at_once_are_one_call),
        WATCH_TEST(directories_that_come_later_are_watched_too),
        WATCH_TEST(a_directory_that_left_is_forgotten),
        WATCH_TEST(hidden_directories_are_left_out),
        WATCH_TEST(a_config_map_that_is_swapped_by_its_link_is_told),
        WATCH_TEST(one_file_is_watched_through_its_directory),
        WATCH_TEST(a_path_that_is_not_there_is_refused_with_errno),
        WATCH_TEST(a_root_that_vanishes_is_found_again),
        WATCH_TEST(it_can_be_stopped_from_its_own_callback_and_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
