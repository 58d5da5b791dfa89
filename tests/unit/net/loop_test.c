#include "sidecar/base/die.h"
#include "sidecar/net/loop.h"
#include "sidecar/net/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct loop *loop;
static char trail[64];

static void mark(char c)
{
    size_t n = strlen(trail);
    if (n + 1 < sizeof(trail))
        trail[n] = c;
}

static int set_up(void **state)
{
    (void)state;
    memset(trail, 0, sizeof(trail));
    loop = loop_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(&loop);
    assert_null(loop);
    return 0;
}

static void mark_arg(void *arg)
{
    mark(*(const char *)arg);
}

static void defer_two(void *arg)
{
    static char names[] = "yz";
    (void)arg;
    mark('x');
    loop_defer(loop, mark_arg, &names[0]);
    loop_defer(loop, mark_arg, &names[1]);
}

static void deferred_calls_run_in_order_and_theirs_after_them(void **state)
{
    static char names[] = "ab";
    (void)state;
    loop_defer(loop, mark_arg, &names[0]);
    loop_defer(loop, defer_two, NULL);
    loop_defer(loop, mark_arg, &names[1]);
    loop_run_ready(loop);
    assert_string_equal(trail, "axbyz");
}

static unsigned rounds, rounds_at_timer;

static void note_rounds(struct timer *t)
{
    (void)t;
    rounds_at_timer = rounds;
}

static void defer_again(void *arg)
{
    if (++rounds == 1)
        timer_arm(arg, 0);
    if (rounds < 1000)
        loop_defer(loop, defer_again, arg);
    else
        loop_stop(loop);
}

static void a_call_that_defers_itself_does_not_starve_the_loop(void **state)
{
    struct timer t;
    (void)state;
    rounds = rounds_at_timer = 0;
    timer_init(&t, loop, note_rounds);
    loop_defer(loop, defer_again, &t);
    loop_run(loop);
    assert_int_equal(rounds, 1000);
    assert_in_range(rounds_at_timer, 1, 3);
}

struct named {
    struct timer timer;
    char name;
};

static void on_named(struct timer *t)
{
    mark(CONTAINER_OF(t, struct named, timer)->name);
}

static void on_last(struct timer *t)
{
    on_named(t);
    loop_stop(t->loop);
}

static void timers_fire_by_deadline_then_by_arming(void **state)
{
    static const struct {
        char name;
        uint64_t delay_ms;
    } plan[] = {{'d', 12}, {'b', 5}, {'c', 5}, {'a', 0}, {'e', 12}};
    struct named timers[ARRAY_LEN(plan)], last;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(plan); i++) {
        timers[i].name = plan[i].name;
        timer_init(&timers[i].timer, loop, on_named);
        timer_arm(&timers[i].timer, plan[i].delay_ms);
    }
    last.name = '.';
    timer_init(&last.timer, loop, on_last);
    timer_arm(&last.timer, 20);
    loop_run(loop);
    assert_string_equal(trail, "abcde.");
}

static struct named victim;

static void disarm_victim(struct timer *t)
{
    on_named(t);
    timer_disarm(&victim.timer);
    timer_disarm(&victim.timer);
}

static void a_timer_disarmed_by_another_of_the_same_moment_stays_silent(void **state)
{
    struct named first = {.name = '1'}, last = {.name = '.'};
    (void)state;
    victim.name = 'v';
    timer_init(&first.timer, loop, disarm_victim);
    timer_init(&victim.timer, loop, on_named);
    timer_init(&last.timer, loop, on_last);
    timer_arm(&first.timer, 1);
    timer_arm(&victim.timer, 1);
    timer_arm(&last.timer, 3);
    assert_true(timer_is_armed(&victim.timer));
    loop_run(loop);
    assert_string_equal(trail, "1.");
    assert_false(timer_is_armed(&victim.timer));
}

static void arming_again_moves_the_deadline(void **state)
{
    struct named moved = {.name = 'm'}, other = {.name = 'o'}, last = {.name = '.'};
    (void)state;
    timer_init(&moved.timer, loop, on_named);
    timer_init(&other.timer, loop, on_named);
    timer_init(&last.timer, loop, on_last);
    timer_arm(&moved.timer, 1);
    timer_arm(&other.timer, 4);
    timer_arm(&last.timer, 30);
    timer_arm(&moved.timer, 10);
    loop_run(loop);
    assert_string_equal(trail, "om.");
    timer_arm(&moved.timer, UINT64_MAX); /* never, but not at once */
    timer_arm(&last.timer, 2);
    loop_run(loop);
    assert_string_equal(trail, "om..");
    timer_disarm(&moved.timer);
}

#define MANY 500
static struct timer many[MANY];
static uint64_t last_deadline;
static unsigned fired;

static void on_many(struct timer *t)
{
    assert_true(t->deadline_ms >= last_deadline);
    last_deadline = t->deadline_ms;
    fired++;
}

static void many_timers_of_many_delays_fire_in_order(void **state)
{
    struct named last = {.name = '.'};
    uint32_t x = 12345;
    unsigned expected = 0;
    (void)state;
    fired = 0;
    last_deadline = 0;
    for (unsigned i = 0; i < MANY; i++) {
        timer_init(&many[i], loop, on_many);
        x = x * 1103515245 + 12345;
        timer_arm(&many[i], (x >> 16) % 150);
    }
    for (unsigned i = 0; i < MANY; i += 3) {
        x = x * 1103515245 + 12345;
        if (i % 2)
            timer_disarm(&many[i]);
        else
            timer_arm(&many[i], (x >> 16) % 150);
    }
    for (unsigned i = 0; i < MANY; i++)
        expected += timer_is_armed(&many[i]);
    timer_init(&last.timer, loop, on_last);
    timer_arm(&last.timer, 160);
    loop_run(loop);
    assert_int_equal(fired, expected);
}

static unsigned again;

static void rearm_now(struct timer *t)
{
    if (++again < 5)
        timer_arm(t, 0);
    else
        loop_stop(t->loop);
}

static void a_timer_that_arms_itself_without_delay_lets_the_turn_end(void **state)
{
    struct timer t;
    (void)state;
    again = 0;
    timer_init(&t, loop, rearm_now);
    timer_arm(&t, 0);
    loop_run(loop);
    assert_int_equal(again, 5);
}

static void disarming_a_zeroed_timer_is_fine(void **state)
{
    struct timer t;
    (void)state;
    memset(&t, 0, sizeof(t));
    timer_disarm(&t);
    assert_false(timer_is_armed(&t));
}

int main(void)
{
#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LOOP_TEST(deferred_calls_run_in_order_and_theirs_after_them),
        LOOP_TEST(a_call_that_defers_itself_does_not_starve_the_loop),
        LOOP_TEST(timers_fire_by_deadline_then_by_arming),
        LOOP_TEST(a_timer_disarmed_by_another_of_the_same_moment_stays_silent),
        LOOP_TEST(arming_again_moves_the_deadline),
        LOOP_TEST(many_timers_of_many_delays_fire_in_order),
        LOOP_TEST(a_timer_that_arms_itself_without_delay_lets_the_turn_end),
        LOOP_TEST(disarming_a_zeroed_timer_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
