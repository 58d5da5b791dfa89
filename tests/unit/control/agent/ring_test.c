#include "control/agent/agents_priv.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static struct ring ring;

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    ring_init(&ring, loop);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ring_fini(&ring);
    loop_free(&loop);
    return 0;
}

static void push(const char *proxy, const char *reason)
{
    const struct ring_event e = {.kind = "refused", .proxy = str_of(proxy), .reason = str_of(reason), .count = 1};
    ring_push(&ring, &e);
}

/* The reasons of what is written, by one space. */
static void expect(uint64_t since, const char *proxy, unsigned limit, const char *want)
{
    struct buf json = {0}, got = {0};
    bool is_any = ring_write(&ring, since, str_of(proxy), limit, &json);
    struct str rest = buf_str(&json);
    for (ptrdiff_t at; (at = str_find(rest, STR("\"reason\": \""))) >= 0;) {
        rest = str_sub(rest, (size_t)at + 11, SIZE_MAX);
        buf_printf(&got, "%s%.*s", buf_len(&got) > 0 ? " " : "", (int)str_index(rest, '"', 0), rest.p);
    }
    buf_append_byte(&got, '\0');
    assert_string_equal((char *)buf_head(&got), want);
    assert_int_equal(is_any, want[0] != '\0');
    buf_fini(&json);
    buf_fini(&got);
}

static void the_newest_are_written_oldest_first(void **state)
{
    (void)state;
    expect(0, NULL, 10, "");
    uint64_t first = ring.next;
    push("a.x", "1");
    push("b.x", "2");
    push("a.x", "3");
    expect(0, NULL, 10, "1 2 3");
    expect(0, NULL, 2, "2 3");
    expect(0, NULL, 0, "");
    expect(first, NULL, 10, "2 3");
    expect(first + 2, NULL, 10, "");
    expect(UINT64_MAX, NULL, 10, "");
    expect(0, "a.x", 10, "1 3");
    expect(0, "a.x", 1, "3");
    expect(0, "nobody.x", 10, "");
}

static void one_event_has_all_its_members(void **state)
{
    struct buf out = {0};
    (void)state;
    ring.first = ring.next = 41;
    const struct ring_event e = {
        .kind = "ejected", .time_us = 1000000, .until_us = 2500000, .count = 7, .status = 503, .proxy = STR("p.n"), .cluster = STR("c\""),
        .host = STR("10.0.0.1:80"), .pod = STR("h"), .reason = STR("r"), .flags = STR("UO")};
    ring_push(&ring, &e);
    assert_true(ring_write(&ring, 0, STR_NONE, 1, &out));
    buf_append_byte(&out, '\0');
    assert_string_equal((char *)buf_head(&out),
                        "[\n{\"seq\": 41, \"time\": \"1970-01-01T00:00:01.000Z\", \"proxy\": \"p.n\", \"kind\": \"ejected\", \"cluster\": "
                        "\"c\\\"\", \"host\": \"10.0.0.1:80\", \"pod\": \"h\", \"reason\": \"r\", \"until\": "
                        "\"1970-01-01T00:00:02.500Z\", \"status\": 503, \"flags\": \"UO\", \"count\": 7}\n]\n");
    buf_fini(&out);
}

static void numbers_are_above_those_of_an_earlier_run(void **state)
{
    (void)state;
    assert_true(ring.next > 1600000000000000u && ring.next <= clock_wall_us());
}

static void the_oldest_go_by_number_and_by_bytes(void **state)
{
    char *text = xmalloc(100001);
    (void)state;
    for (unsigned i = 0; i < RING_MAX + 7; i++)
        push("a.x", "small");
    assert_int_equal(ring.next - ring.first, RING_MAX);
    memset(text, 'x', 100000);
    text[100000] = '\0';
    for (unsigned i = 0; i < 200; i++)
        push("a.x", text);
    assert_true(ring.bytes <= RING_BYTES_MAX && ring.next - ring.first <= 200);
    assert_true(ring.next - ring.first > 50);
    free(text);
}

static void count_up(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void run_for(uint64_t ms)
{
    uint64_t end = clock_mono_ns() + ms * 1000000;
    while (clock_mono_ns() < end) {
        loop_run_ready(loop);
        usleep(1000);
    }
}

static void who_waits_is_woken_once_by_what_it_asked_for(void **state)
{
    unsigned any = 0, mine = 0, late = 0;
    (void)state;
    push("a.x", "old");
    uint64_t last = ring.next - 1;
    struct agents_wait *w = ring_wait(&ring, last, STR_NONE, 60000, count_up, &any);
    struct agents_wait *v = ring_wait(&ring, last, STR("b.x"), 60000, count_up, &mine);
    assert_non_null(w);
    assert_non_null(v);
    assert_non_null(ring_wait(&ring, last, STR("nobody.x"), 80, count_up, &late));
    push("a.x", "1");
    push("a.x", "2");
    run_for(40);
    assert_int_equal(any, 1);
    assert_int_equal(mine, 0);
    push("b.x", "3");
    run_for(100);
    assert_int_equal(any, 1);
    assert_int_equal(mine, 1);
    assert_int_equal(late, 1); /* its time is over */
    /* What is there already is not waited for. */
    assert_non_null(ring_wait(&ring, last, STR_NONE, 60000, count_up, &any));
    run_for(20);
    assert_int_equal(any, 2);
    assert_int_equal(ring.wait_count, 0);
}

static void waits_are_bounded_and_can_be_cancelled(void **state)
{
    struct agents_wait *v[AGENTS_WAITS_MAX];
    unsigned n = 0;
    (void)state;
    for (unsigned i = 0; i < AGENTS_WAITS_MAX; i++)
        assert_non_null(v[i] = ring_wait(&ring, UINT64_MAX, STR_NONE, 60000, count_up, &n));
    assert_null(ring_wait(&ring, 0, STR_NONE, 60000, count_up, &n));
    for (unsigned i = 0; i < AGENTS_WAITS_MAX; i++)
        agents_wait_cancel(&v[i]);
    agents_wait_cancel(&v[0]); /* NULL by now */
    push("a.x", "1");
    run_for(20);
    assert_int_equal(n, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(the_newest_are_written_oldest_first),
        CASE(one_event_has_all_its_members),
        CASE(numbers_are_above_those_of_an_earlier_run),
        CASE(the_oldest_go_by_number_and_by_bytes),
        CASE(who_waits_is_woken_once_by_what_it_asked_for),
        CASE(waits_are_bounded_and_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
