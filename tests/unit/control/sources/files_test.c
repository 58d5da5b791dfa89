/* Directories as the source of objects: which files count, what a bad one does, doubles, removal. */
#include "control/sources/files.h"
#include "sidecar/base/die.h"
#include "tests/unit/control/sources/root.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define POD(name) "apiVersion: v1\nkind: Pod\nmetadata: {name: " name "}\n---\n"

static char *path_of(const char *name)
{
    return xasprintf("%s/%s", root, name);
}

static void put(const char *name, const char *text)
{
    char *path = path_of(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static void drop(const char *name)
{
    char *path = path_of(name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static struct files *open_root(void)
{
    return files_new((const char *[]){root}, 1);
}

/* The names of the objects in force, in their order. */
static void expect(const struct files *fs, const char *names, unsigned refused)
{
    unsigned n;
    char got[256] = "";
    struct object *const *v = files_objects(fs, &n);
    for (unsigned i = 0; i < n; i++) {
        strncat(got, v[i]->name.p, v[i]->name.n);
        strcat(got, " ");
    }
    assert_string_equal(got, names);
    assert_int_equal(files_refused(fs), refused);
}

static void only_configuration_is_read(void **state)
{
    (void)state;
    char *dir = path_of("deep");
    assert_int_equal(mkdir(dir, 0700), 0);
    put("deep/a.yml", POD("a"));
    put("b.yaml", POD("b"));
    put("c.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"c\"}}");
    put(".hidden.yaml", POD("hidden"));
    put("d.yaml~", POD("backup"));
    put("e.yaml.swp", POD("swap"));
    put("f.txt", POD("text"));
    put("vips.json", "{\"default/a\": \"10.96.0.1\"}");
    struct files *fs = open_root();
    assert_true(files_scan(fs));
    expect(fs, "b c a ", 0);
    assert_false(files_scan(fs));
    files_free(&fs);
    free(dir);
}

static void a_bad_file_keeps_its_last_good_version(void **state)
{
    (void)state;
    put("a.yaml", POD("a1") POD("a2"));
    put("b.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {}\n");
    struct files *fs = open_root();
    files_scan(fs);
    expect(fs, "a1 a2 ", 1);
    put("a.yaml", POD("a3") "apiVersion: v1\nkind: Pod\nmetadata: {}\n");
    assert_true(files_scan(fs));
    expect(fs, "a1 a2 ", 2);
    struct arena *arena = arena_new(1024);
    struct findings findings;
    findings_init(&findings, arena);
    files_findings(fs, &findings);
    assert_int_equal(findings.errors, 2);
    arena_free(&arena);
    put("a.yaml", POD("a3"));
    put("b.yaml", POD("b"));
    assert_true(files_scan(fs));
    expect(fs, "a3 b ", 0);
    files_free(&fs);
}

static void of_doubles_the_later_path_is_refused(void **state)
{
    (void)state;
    put("a.yaml", POD("x"));
    put("b.yaml", POD("y"));
    struct files *fs = open_root();
    files_scan(fs);
    put("b.yaml", POD("y") POD("x"));
    files_scan(fs);
    expect(fs, "x y ", 1);
    /* The earlier path takes a name that a later one holds. */
    put("a.yaml", POD("x") POD("y"));
    files_scan(fs);
    expect(fs, "x y ", 1);
    /* What was refused comes into force when the other goes. */
    drop("a.yaml");
    files_scan(fs);
    expect(fs, "y x ", 0);
    put("c.yaml", POD("z") POD("z"));
    files_scan(fs);
    expect(fs, "y x ", 1);
    files_free(&fs);
}

static void a_removed_file_removes_its_objects(void **state)
{
    (void)state;
    put("a.yaml", POD("a"));
    put("b.yaml", POD("b"));
    struct files *fs = open_root();
    files_scan(fs);
    drop("a.yaml");
    assert_true(files_scan(fs));
    expect(fs, "b ", 0);
    files_free(&fs);
}

static void a_file_that_is_being_written_waits(void **state)
{
    (void)state;
    put("a.yaml", POD("a"));
    struct files *fs = open_root();
    files_scan(fs);
    char *path = path_of("a.yaml");
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, POD("b"), strlen(POD("b"))), (ssize_t)strlen(POD("b")));
    files_scan(fs);
    expect(fs, "a ", 0);
    close(fd);
    assert_true(files_scan(fs));
    expect(fs, "b ", 0);
    free(path);
    files_free(&fs);
}

struct waiting {
    struct loop *loop;
    unsigned calls;
};

static void on_change(void *ctx)
{
    struct waiting *w = ctx;
    w->calls++;
    loop_stop(w->loop);
}

static void a_change_is_told(void **state)
{
    (void)state;
    struct waiting w = {.loop = loop_new()};
    const char *dir = NULL;
    put("a.yaml", POD("a"));
    struct files *fs = open_root();
    files_scan(fs);
    assert_int_equal(files_watch(fs, w.loop, on_change, &w, &dir), 0);
    put("a.yaml", POD("b"));
    loop_run(w.loop);
    assert_int_equal(w.calls, 1);
    expect(fs, "b ", 0);
    files_free(&fs);
    loop_free(&w.loop);
}

static void a_directory_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    const char *dir = NULL;
    struct files *fs = files_new((const char *[]){"/nonexistent/x/"}, 1);
    assert_true(files_scan(fs));
    assert_int_equal(files_watch(fs, loop, on_change, NULL, &dir), -ENOENT);
    assert_string_equal(dir, "/nonexistent/x");
    files_free(&fs);
    loop_free(&loop);
}

#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

static bool says(const struct files *fs, const char *text)
{
    struct arena *arena = arena_new(1024);
    struct findings findings;
    struct buf out = {0};
    findings_init(&findings, arena);
    files_findings(fs, &findings);
    findings_print_all(&findings, &out);
    bool is_said = buf_len(&out) > 0 && memmem(buf_head(&out), buf_len(&out), text, strlen(text)) != NULL;
    buf_fini(&out);
    arena_free(&arena);
    return is_said;
}

static void what_is_observed_of_a_pod_counts(void **state)
{
    (void)state;
    char *config = path_of("config"), *observed = path_of("state");
    assert_int_equal(mkdir(config, 0700), 0);
    assert_int_equal(mkdir(observed, 0700), 0);
    put("config/a.yaml", POD("a") POD("b"));
    put("state/a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {seen: 'yes'}}\n");
    struct files *fs = files_new((const char *[]){config, observed}, 2);
    files_observe(fs, 1);
    files_scan(fs);
    expect(fs, "b a ", 0);
    unsigned n;
    struct object *const *v = files_objects(fs, &n);
    assert_true(str_eq_c(labels_get(v[1]->labels, "seen"), "yes"));
    drop("state/a.yaml");
    assert_true(files_scan(fs));
    expect(fs, "a b ", 0);
    /* Among themselves doubles are doubles. */
    put("state/b1.yaml", POD("b"));
    put("state/b2.yaml", POD("b"));
    assert_true(files_scan(fs));
    expect(fs, "a b ", 1);
    files_free(&fs);
    free(config);
    free(observed);
}

static void what_is_no_file_is_named_and_left_alone(void **state)
{
    (void)state;
    char *fifo = path_of("fifo.yaml"), *big = path_of("big.yaml"), *link = path_of("null.yaml");
    put("a.yaml", POD("a"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("/dev/zero", link), 0);
    put("big.yaml", "");
    assert_int_equal(truncate(big, 100 << 20), 0);
    struct files *fs = open_root();
    assert_true(files_scan(fs));
    expect(fs, "a ", 3);
    assert_true(says(fs, "fifo.yaml: error OG0115"));
    assert_true(says(fs, "null.yaml: error OG0115"));
    assert_true(says(fs, "is larger than 16 MiB"));
    /* The size may have been read within the tick in which it was set: read again it says the same. */
    assert_false(files_scan(fs));
    assert_false(files_scan(fs));
    files_free(&fs);
    free(fifo);
    free(big);
    free(link);
}

static void a_directory_that_vanishes_takes_nothing_with_it(void **state)
{
    (void)state;
    char *away = xasprintf("%s-away", root);
    put("a.yaml", POD("a"));
    struct files *fs = open_root();
    files_scan(fs);
    assert_int_equal(rename(root, away), 0);
    assert_true(files_scan(fs));
    expect(fs, "a ", 0);
    assert_true(says(fs, "cannot be read: No such file or directory"));
    assert_false(files_scan(fs));
    assert_int_equal(rename(away, root), 0);
    assert_true(files_scan(fs));
    expect(fs, "a ", 0);
    assert_false(says(fs, "cannot be read"));
    drop("a.yaml");
    assert_true(files_scan(fs));
    expect(fs, "", 0);
    files_free(&fs);
    free(away);
}

/* As a ConfigMap is mounted: links through one link, which is replaced. */
static void a_swapped_link_is_one_change(void **state)
{
    (void)state;
    char *one = path_of("..one"), *two = path_of("..two"), *data = path_of("..data"), *next = path_of("..data_tmp"), *a = path_of("a.yaml");
    assert_int_equal(mkdir(one, 0700), 0);
    assert_int_equal(mkdir(two, 0700), 0);
    put("..one/a.yaml", POD("a1"));
    put("..two/a.yaml", POD("a2"));
    assert_int_equal(symlink("..one", data), 0);
    assert_int_equal(symlink("..data/a.yaml", a), 0);
    struct files *fs = open_root();
    files_scan(fs);
    expect(fs, "a1 ", 0);
    assert_int_equal(symlink("..two", next), 0);
    assert_int_equal(rename(next, data), 0);
    assert_true(files_scan(fs));
    expect(fs, "a2 ", 0);
    files_free(&fs);
    free(one);
    free(two);
    free(data);
    free(next);
    free(a);
}

/* Two texts of one size within one tick of the clock by which the disk tells time. */
static void a_change_right_after_a_look_is_seen(void **state)
{
    (void)state;
    struct files *fs = open_root();
    for (unsigned i = 0; i < 50; i++) {
        put("a.yaml", i % 2 ? POD("a1") : POD("a2"));
        files_scan(fs);
        expect(fs, i % 2 ? "a1 " : "a2 ", 0);
    }
    files_free(&fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ROOT(only_configuration_is_read),
        IN_ROOT(a_bad_file_keeps_its_last_good_version),
        IN_ROOT(of_doubles_the_later_path_is_refused),
        IN_ROOT(a_removed_file_removes_its_objects),
        IN_ROOT(a_file_that_is_being_written_waits),
        IN_ROOT(a_change_is_told),
        IN_ROOT(what_is_observed_of_a_pod_counts),
        IN_ROOT(what_is_no_file_is_named_and_left_alone),
        IN_ROOT(a_directory_that_vanishes_takes_nothing_with_it),
        IN_ROOT(a_swapped_link_is_one_change),
        IN_ROOT(a_change_right_after_a_look_is_seen),
        cmocka_unit_test(a_directory_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
