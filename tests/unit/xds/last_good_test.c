/* The file of the last good configuration: written after a change, read before anything else, refused when it is not whole or
 * not ours. */
#include "tests/unit/xds/world.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    struct world *w;
    char dir[64], path[96];
};

static int setup(void **state)
{
    struct place *p = NEW(struct place);
    snprintf(p->dir, sizeof(p->dir), "/tmp/xds-last-good-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/state", p->dir);
    p->w = world_new(XDS_DELTA);
    p->w->options.state_path = p->path;
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    world_free(&p->w);
    unlink(p->path);
    assert_int_equal(rmdir(p->dir), 0); /* no temporary file is left either */
    free(p);
    return 0;
}

/* Takes a small configuration, and waits until it is in force. */
static void fill(struct world *w)
{
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a@a1=e", "");
    world_reply(w, XDS_LISTENER, "2", "l1", "l@l1=r", "");
    WORLD_WAIT(w, xds_version(w->xds, XDS_LISTENER).n > 0);
    world_reply(w, XDS_ENDPOINT, "3", "e1", "e@e1", "");
    world_reply(w, XDS_ROUTE, "4", "r1", "r@r1", "");
    WORLD_WAIT(w, w->lives == 1);
    world_run_ms(w, 5);
    buf_clear(&w->requests);
    buf_clear(&w->told);
}

static void stop(struct world *w)
{
    xds_stop(&w->xds);
    WORLD_WAIT(w, !w->call);
    w->lives = w->batches = 0;
    buf_clear(&w->requests);
}

static void read_back(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, buf_reserve(out, 65536), 65536);
    assert_true(n > 0);
    buf_commit(out, (size_t)n);
    close(fd);
}

static void write_back(const char *path, struct str bytes)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
    assert_int_equal(write(fd, bytes.p, bytes.n), bytes.n);
    close(fd);
}

/* ---- Good files. ---- */

static void it_is_in_force_before_start_returns_and_live_without_the_server(void **state)
{
    struct place *p = *state;
    struct world *w = p->w;
    fill(w);
    stop(w);
    world_server_down(w);
    world_start(w);
    char *told = buf_take(&w->told);
    assert_string_equal(told, "put cds a@a1\nput eds e@e1\nactivate cds a\n"
                              "put lds l@l1\nput rds r@r1\nactivate lds l\n");
    free(told);
    assert_int_equal(w->batches, 1);
    assert_int_equal(w->lives, 0);
    WORLD_WAIT(w, w->lives == 1);
    assert_false(xds_is_connected(w->xds));
    /* The server comes back, and is told what is known. */
    world_server_up(w);
    world_expect_requests(w, "cds node known[a=a1]\neds sub[e] known[e=e1]\nlds known[l=l1]\nrds sub[r] known[r=r1]\n");
    world_reply(w, XDS_CLUSTER, "9", "c1", "b@b1", "a");
    world_expect_told(w, "put cds b@b1\nremove cds a\nactivate cds b\nremove eds e\n");
    assert_int_equal(w->lives, 1);
}

static void state_of_the_world_presents_its_versions_after_a_restart(void **state)
{
    struct place *p = *state;
    struct world *w = p->w;
    w->options.mode = XDS_SOTW;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a=e", "");
    world_expect_requests(w, "cds v(1) nonce(c1)\neds names[e]\n");
    world_reply(w, XDS_ENDPOINT, "3", "e1", "e", "");
    world_expect_requests(w, "eds v(3) names[e] nonce(e1)\n");
    stop(w);
    world_start(w);
    world_expect_requests(w, "cds node v(1)\neds v(3) names[e]\nlds\n");
    stop(w);
    /* They mean nothing to the other protocol's server. */
    w->options.mode = XDS_DELTA;
    world_start(w);
    world_expect_requests(w, "cds node known[a=1]\neds sub[e] known[e=3]\nlds\n");
    assert_int_equal(xds_version(w->xds, XDS_CLUSTER).n, 0);
    buf_clear(&w->told);
}

static void it_is_written_a_second_after_a_change_for_its_owner_alone(void **state)
{
    struct place *p = *state;
    struct stat st;
    fill(p->w);
    assert_int_equal(stat(p->path, &st), -1);
    WORLD_WAIT(p->w, stat(p->path, &st) == 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct buf before = {0}, after = {0};
    read_back(p->path, &before);
    stop(p->w);
    read_back(p->path, &after);
    assert_true(str_eq(buf_str(&before), buf_str(&after)));
    buf_fini(&before);
    buf_fini(&after);
}

static void nothing_is_written_when_nothing_was_accepted(void **state)
{
    struct place *p = *state;
    struct stat st;
    world_start(p->w);
    world_expect_requests(p->w, "cds node\nlds\n");
    world_reply(p->w, XDS_CLUSTER, "1", "c1", "a=!bad", "");
    world_expect_requests(p->w, "cds nonce(c1) error(13 a: bad)\n");
    stop(p->w);
    assert_int_equal(stat(p->path, &st), -1);
}

static void what_was_warming_serves_after_a_restart(void **state)
{
    struct place *p = *state;
    struct world *w = p->w;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a@a1=e", "");
    world_expect_told(w, "put cds a@a1\n");
    stop(w);
    world_start(w);
    world_expect_told(w, "put cds a@a1\nactivate cds a\n");
    WORLD_WAIT(w, w->lives == 1);
    world_expect_requests(w, "cds node known[a=a1]\neds sub[e]\nlds\n");
    world_reply(w, XDS_ENDPOINT, "1", "e1", "e", "");
    world_expect_told(w, "put eds e\n");
}

static void a_resource_that_the_sink_refuses_now_is_left_out(void **state)
{
    struct place *p = *state;
    struct world *w = p->w;
    fill(w);
    struct buf bytes = {0};
    last_good_pack(w->xds, &bytes);
    stop(w);
    /* "\x12\1e" is the cluster's text, 1 byte: it becomes "!", which the sink refuses. */
    ptrdiff_t at = str_find(buf_str(&bytes), (struct str){"\x12\1e", 3});
    assert_true(at > 0);
    buf_head(&bytes)[at + 2] = '!';
    uint64_t sum = hash_xx64(buf_head(&bytes) + 16, buf_len(&bytes) - 16, 0);
    memcpy(buf_head(&bytes) + 8, &sum, 8);
    write_back(p->path, buf_str(&bytes));
    buf_fini(&bytes);
    world_start(w);
    world_expect_told(w, "refuse cds a@a1\nput lds l@l1\nput rds r@r1\nactivate lds l\n");
    world_expect_requests(w, "cds node\nlds known[l=l1]\nrds sub[r] known[r=r1]\n");
}

/* ---- Files that are of no use. ---- */

static void starts_empty(struct place *p)
{
    struct world *w = p->w;
    world_start(w);
    world_expect_told(w, "");
    world_expect_requests(w, "cds node\nlds\n");
    assert_int_equal(w->lives, 0);
    stop(w);
}

static void a_file_that_is_not_whole_is_ignored(void **state)
{
    struct place *p = *state;
    struct buf bytes = {0};
    fill(p->w);
    stop(p->w);
    read_back(p->path, &bytes);
    for (size_t n = 0; n < buf_len(&bytes); n += 1 + n / 4) {
        write_back(p->path, str_sub(buf_str(&bytes), 0, n));
        starts_empty(p);
    }
    for (size_t i = 0; i < buf_len(&bytes); i += 1 + i / 4) {
        buf_head(&bytes)[i] ^= 0x40;
        write_back(p->path, buf_str(&bytes));
        starts_empty(p);
        buf_head(&bytes)[i] ^= 0x40;
    }
    buf_fini(&bytes);
}

static void another_nodes_file_is_ignored(void **state)
{
    struct place *p = *state;
    struct world *w = p->w;
    struct buf bytes = {0};
    struct err err = {0};
    fill(w);
    last_good_pack(w->xds, &bytes);
    stop(w);
    world_start(w);
    WORLD_WAIT(w, w->lives == 1);
    w->xds->node_id = STR("node-2");
    assert_false(last_good_unpack(w->xds, buf_str(&bytes), &err));
    assert_string_equal(err.text, "it is of another node, \"node-1\"");
    buf_clear(&w->told);
    buf_fini(&bytes);
}

static void a_directory_in_its_place_is_reported_and_survived(void **state)
{
    struct place *p = *state;
    assert_int_equal(mkdir(p->path, 0700), 0);
    fill(p->w);
    stop(p->w);
    assert_int_equal(rmdir(p->path), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_in_force_before_start_returns_and_live_without_the_server),
        TEST(state_of_the_world_presents_its_versions_after_a_restart),
        TEST(it_is_written_a_second_after_a_change_for_its_owner_alone),
        TEST(nothing_is_written_when_nothing_was_accepted),
        TEST(what_was_warming_serves_after_a_restart),
        TEST(a_resource_that_the_sink_refuses_now_is_left_out),
        TEST(a_file_that_is_not_whole_is_ignored),
        TEST(another_nodes_file_is_ignored),
        TEST(a_directory_in_its_place_is_reported_and_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
