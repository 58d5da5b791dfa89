/* Keys of tickets: which seals, which open, and for how long. */
#include "sidecar/tls/tls_priv.h"
#include "tls_world.h"

#define DAY (24 * 3600ull)

static struct arena *arena;
static struct tls_tickets tickets;

static int set_up(void **state)
{
    (void)state;
    arena = arena_new(1024);
    tickets = (struct tls_tickets){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_tickets_fini(&tickets);
    arena_free(&arena);
    return 0;
}

static int place_of(const uint8_t *key, uint64_t now_s)
{
    uint8_t found[TLS_TICKET_KEY_BYTES];
    int at = tls_tickets_find(&tickets, key, now_s, found);
    if (at >= 0)
        assert_memory_equal(found, key, sizeof(found));
    return at;
}

static void a_generated_key_seals_two_days_and_opens_two_more(void **state)
{
    (void)state;
    const struct tls_spec spec = {0};
    uint8_t first[TLS_TICKET_KEY_BYTES], second[TLS_TICKET_KEY_BYTES];
    tls_tickets_init(&tickets, &spec, arena, 1000);
    tls_tickets_first(&tickets, 1000, first);
    tls_tickets_first(&tickets, 1000 + 2 * DAY - 1, second);
    assert_memory_equal(first, second, sizeof(first));
    tls_tickets_first(&tickets, 1000 + 2 * DAY, second);
    assert_memory_not_equal(first, second, sizeof(first));
    assert_int_equal(place_of(second, 1000 + 3 * DAY), 0);
    assert_int_equal(place_of(first, 1000 + 4 * DAY - 1), 1);
    assert_int_equal(place_of(first, 1000 + 4 * DAY), -1);
}

static void a_key_that_nobody_used_for_four_days_opens_nothing(void **state)
{
    (void)state;
    const struct tls_spec spec = {0};
    uint8_t first[TLS_TICKET_KEY_BYTES];
    tls_tickets_init(&tickets, &spec, arena, 1000);
    tls_tickets_first(&tickets, 1000, first);
    assert_int_equal(place_of(first, 1000 + 4 * DAY), -1);
}

static void keys_of_the_operator_stay_and_the_first_seals(void **state)
{
    (void)state;
    uint8_t given[2][TLS_TICKET_KEY_BYTES], key[TLS_TICKET_KEY_BYTES];
    memset(given[0], 1, sizeof(given[0]));
    memset(given[1], 2, sizeof(given[1]));
    const struct tls_spec spec = {.ticket_keys = (const uint8_t(*)[TLS_TICKET_KEY_BYTES])given, .ticket_key_count = 2};
    tls_tickets_init(&tickets, &spec, arena, 1000);
    tls_tickets_first(&tickets, 1000 + 100 * DAY, key);
    assert_memory_equal(key, given[0], sizeof(key));
    assert_int_equal(place_of(given[1], 1000 + 100 * DAY), 1);
    memset(key, 3, sizeof(key));
    assert_int_equal(place_of(key, 1000), -1);
}

static void a_ticket_is_good_for_its_time_and_while_the_certificate_is(void **state)
{
    (void)state;
    struct cert cert = cert_make(arena, (struct cert_order){.common_name = "peer"}); /* until tomorrow */
    uint64_t now_s = (uint64_t)time(NULL);
    static const struct {
        int64_t looked_at, now;
        bool has_peer, good;
    } cases[] = {
        {0, 0, true, true},         {-7200, 0, true, true},       {-7201, 0, true, false},
        {1, 0, true, false}, /* the clock went back */
        {0, 2 * 86400, true, false}, {172800 - 10, 172800, true, false}, {172800 - 10, 172800, false, true},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(tls_ticket_is_good(now_s + (uint64_t)cases[i].looked_at, now_s + (uint64_t)cases[i].now, 7200,
                                            cases[i].has_peer ? cert.x : NULL),
                         cases[i].good);
    cert_free(&cert);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_generated_key_seals_two_days_and_opens_two_more),
        CASE(a_key_that_nobody_used_for_four_days_opens_nothing),
        CASE(keys_of_the_operator_stay_and_the_first_seals),
        CASE(a_ticket_is_good_for_its_time_and_while_the_certificate_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
