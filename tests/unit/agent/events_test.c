#include "sidecar/agent/agent_priv.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct refusal refusal_of(const char *cluster, uint64_t count)
{
    struct refusal r = {.status = 503, .flags = "UO", .details = "overflow", .count = count};
    snprintf(r.cluster, sizeof(r.cluster), "%s", cluster);
    return r;
}

static void refuse(struct events *e, const char *cluster, uint64_t count, uint64_t now_ms)
{
    struct refusal one = refusal_of(cluster, count);
    const struct refusals r = {.v = &one, .count = 1};
    events_refused(e, &r, now_ms);
}

static const struct event *last(const struct events *e)
{
    assert_true(e->count > 0);
    return CONTAINER_OF(e->queue.prev, struct event, link);
}

static void texts_are_copied_and_missing_ones_are_empty(void **state)
{
    struct events e = {0};
    char host[] = "10.0.0.1:80";
    (void)state;
    events_init(&e);
    events_push(&e, &(struct event){.kind = AGENT_EVENT(EJECTED), .host = host, .until_us = 7});
    host[0] = 'x';
    assert_string_equal(last(&e)->host, "10.0.0.1:80");
    assert_string_equal(last(&e)->cluster, "");
    assert_string_equal(last(&e)->flags, "");
    assert_int_equal(last(&e)->until_us, 7);
    assert_true(last(&e)->time_us > 1600000000000000u);
    events_fini(&e);
}

static void the_oldest_goes_where_there_is_no_room(void **state)
{
    struct events e = {0};
    (void)state;
    events_init(&e);
    for (unsigned i = 0; i < EVENTS_MAX + 5; i++)
        events_push(&e, &(struct event){.kind = AGENT_EVENT(RETURNED), .count = i});
    assert_int_equal(e.count, EVENTS_MAX);
    assert_int_equal(e.lost, 5);
    assert_int_equal(CONTAINER_OF(e.queue.next, struct event, link)->count, 5);
    assert_int_equal(last(&e)->count, EVENTS_MAX + 4);
    events_fini(&e);
}

static void a_kind_is_told_at_once_and_then_once_a_second_with_a_count(void **state)
{
    struct events e = {0};
    (void)state;
    events_init(&e);
    refuse(&e, "a", 1, 100000);
    assert_int_equal(e.count, 1);
    refuse(&e, "a", 10, 100100);
    refuse(&e, "a", 20, 100200);
    refuse(&e, "b", 3, 100300); /* another kind has a second of its own */
    assert_int_equal(e.count, 2);
    assert_string_equal(last(&e)->cluster, "b");
    events_tick(&e, 100999);
    assert_int_equal(e.count, 2);
    events_tick(&e, 101000);
    assert_int_equal(e.count, 3);
    assert_string_equal(last(&e)->cluster, "a");
    assert_int_equal(last(&e)->count, 30);
    assert_int_equal(last(&e)->status, 503);
    assert_string_equal(last(&e)->flags, "UO");
    assert_string_equal(last(&e)->reason, "overflow");
    refuse(&e, "a", 4, 102500); /* after a pause at once again */
    assert_int_equal(e.count, 4);
    assert_int_equal(last(&e)->count, 4);
    events_fini(&e);
}

static void quiet_kinds_are_forgotten_and_too_many_are_counted(void **state)
{
    struct events e = {0};
    (void)state;
    events_init(&e);
    for (unsigned i = 0; i < RATES_MAX + 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "c%u", i);
        refuse(&e, name, 2, 50000);
    }
    assert_int_equal(e.rates.count, RATES_MAX);
    assert_int_equal(e.lost, 6);
    events_tick(&e, 59000);
    assert_int_equal(e.rates.count, RATES_MAX);
    events_tick(&e, 60000);
    assert_int_equal(e.rates.count, 0);
    const struct refusals lost = {.lost = 11};
    events_refused(&e, &lost, 60000);
    assert_int_equal(e.lost, 17);
    events_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_copied_and_missing_ones_are_empty),
        cmocka_unit_test(the_oldest_goes_where_there_is_no_room),
        cmocka_unit_test(a_kind_is_told_at_once_and_then_once_a_second_with_a_count),
        cmocka_unit_test(quiet_kinds_are_forgotten_and_too_many_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
