/* Lists of header fields: order, known names, replacing and removing. */
#include "sidecar/http/headers.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int setup(void **state)
{
    *state = arena_new(512);
    return 0;
}

static int teardown(void **state)
{
    struct arena *a = *state;
    arena_free(&a);
    return 0;
}

static void check_value(struct str got, const char *want)
{
    if (!want) {
        assert_null(got.p);
        return;
    }
    if (!str_eq_c(got, want) || !got.p)
        fail_msg("got \"%.*s\", want \"%s\"", STR_FMT(got), want);
}

static void every_known_name_is_found_by_its_text(void **state)
{
    (void)state;
    for (int id = HDR_OTHER + 1; id < HDR_ID_COUNT; id++) {
        struct str name = header_id_name((enum header_id)id);
        if (header_id_of(name) != (enum header_id)id)
            fail_msg("%.*s is not found", STR_FMT(name));
    }
    assert_int_equal(header_id_of(STR("hosu")), HDR_OTHER);
    assert_int_equal(header_id_of(STR("")), HDR_OTHER);
    assert_int_equal(header_id_of(STR("x-envoy-upstream-rq-per-try-timeout-ms-and-more")), HDR_OTHER);
}

static void values_of_one_name_keep_their_order(void **state)
{
    struct headers h;
    headers_init(&h, *state);
    headers_add(&h, STR("x-a"), STR("1"));
    headers_add_id(&h, HDR_COOKIE, STR("c=1"));
    headers_add_copy(&h, STR("X-A"), STR("2"));
    headers_add_copy(&h, STR("Cookie"), STR("d=2"));
    headers_add(&h, STR("x-a"), STR_NONE);
    check_value(headers_find(&h, STR("x-a")), "1");
    check_value(headers_find_joined(&h, STR("x-a")), "1,2,");
    check_value(headers_get(&h, HDR_COOKIE), "c=1");
    check_value(headers_find_joined(&h, STR("cookie")), "c=1,d=2");
    check_value(headers_find(&h, STR("x-b")), NULL);
    check_value(headers_find_joined(&h, STR("x-b")), NULL);
    check_value(headers_get(&h, HDR_HOST), NULL);
    assert_int_equal(h.bytes, 3 * 3 + 2 + 2 * 6 + 6);
}

static void an_empty_value_is_present(void **state)
{
    struct headers h;
    headers_init(&h, *state);
    headers_add(&h, STR("x-a"), STR_NONE);
    headers_add_id(&h, HDR_VIA, STR("v"));
    headers_set_id(&h, HDR_VIA, STR_NONE);
    check_value(headers_find(&h, STR("x-a")), "");
    check_value(headers_get(&h, HDR_VIA), "");
    assert_true(headers_has(&h, HDR_VIA));
}

static void set_keeps_the_place_of_the_first_and_drops_the_others(void **state)
{
    struct headers h;
    headers_init(&h, *state);
    headers_add(&h, STR("x-a"), STR("1"));
    headers_add(&h, STR("x-b"), STR("b"));
    headers_add(&h, STR("x-a"), STR("2"));
    headers_add(&h, STR("x-a"), STR("3"));
    headers_set(&h, STR("x-a"), STR("new"));
    assert_int_equal(h.count, 2);
    check_value(h.v[0].value, "new");
    check_value(h.v[1].value, "b");
    assert_int_equal(h.bytes, 3 + 3 + 3 + 1);
    headers_set_id(&h, HDR_SERVER, STR("s"));
    assert_int_equal(h.count, 3);
    check_value(headers_get(&h, HDR_SERVER), "s");
}

static void remove_takes_all_of_that_name(void **state)
{
    struct headers h;
    headers_init(&h, *state);
    headers_add_id(&h, HDR_TE, STR("trailers"));
    headers_add(&h, STR("x-a"), STR("1"));
    headers_add_id(&h, HDR_TE, STR("gzip"));
    headers_add(&h, STR("x-b"), STR("2"));
    headers_add(&h, STR("x-a"), STR("3"));
    assert_int_equal(headers_remove_id(&h, HDR_TE), 2);
    assert_int_equal(headers_remove(&h, STR("x-a")), 2);
    assert_int_equal(headers_remove(&h, STR("x-a")), 0);
    assert_int_equal(h.count, 1);
    check_value(h.v[0].name, "x-b");
    assert_int_equal(h.bytes, 4);
    headers_remove_at(&h, 0);
    assert_int_equal(h.count, 0);
    assert_int_equal(h.bytes, 0);
}

/* Fails unless the ids are those of the fields that are in the list. */
static void check_ids(const struct headers *h)
{
    for (int id = HDR_OTHER + 1; id < HDR_ID_COUNT; id++) {
        bool is_there = false;
        for (uint32_t i = 0; i < h->count; i++)
            is_there |= h->v[i].id == id;
        if (headers_has(h, (enum header_id)id) != is_there)
            fail_msg("%.*s: %d", STR_FMT(header_id_name((enum header_id)id)), is_there);
    }
}

static void the_ids_tell_what_is_in_the_list_after_every_change(void **state)
{
    struct headers h, copy;
    headers_init(&h, *state);
    headers_add(&h, STR("te"), STR("1"));
    headers_add_id(&h, HDR_VIA, STR("2"));
    headers_add_copy(&h, STR("TE"), STR("3"));
    headers_add(&h, STR("x-other"), STR("4"));
    headers_set_id(&h, HDR_HOST, STR("5"));
    check_ids(&h);
    headers_copy(&copy, &h, *state);
    check_ids(&copy);
    headers_remove_at(&h, 0);
    check_ids(&h);
    assert_true(headers_has(&h, HDR_TE));
    headers_remove_at(&h, 1);
    check_ids(&h);
    assert_false(headers_has(&h, HDR_TE));
    headers_remove(&h, STR("via"));
    headers_set(&copy, STR("te"), STR("6"));
    check_ids(&h);
    check_ids(&copy);
    check_value(headers_get(&h, HDR_VIA), NULL);
}

static void several_known_names_are_removed_at_once(void **state)
{
    struct headers h;
    headers_init(&h, *state);
    headers_add_id(&h, HDR_TE, STR("1"));
    headers_add(&h, STR("x-a"), STR("22"));
    headers_add_id(&h, HDR_VIA, STR("3"));
    headers_add_id(&h, HDR_TE, STR("4"));
    headers_add_id(&h, HDR_HOST, STR("55"));
    headers_remove_ids(&h, HDR_BIT(HDR_TE) | HDR_BIT(HDR_VIA) | HDR_BIT(HDR_DATE));
    check_ids(&h);
    assert_int_equal(h.count, 2);
    check_value(h.v[0].value, "22");
    check_value(h.v[1].value, "55");
    assert_int_equal(h.bytes, 3 + 2 + 4 + 2);
}

static void a_copy_shares_nothing_with_its_source(void **state)
{
    struct arena *source = arena_new(64);
    struct headers h, copy;
    headers_init(&h, source);
    for (int i = 0; i < 100; i++)
        headers_add(&h, arena_printf(source, "x-%d", i), arena_printf(source, "value %d", i));
    headers_add_copy(&h, STR("Content-Type"), STR("text/plain"));
    headers_copy(&copy, &h, *state);
    arena_free(&source);
    assert_int_equal(copy.count, 101);
    check_value(headers_find(&copy, STR("x-0")), "value 0");
    check_value(headers_find(&copy, STR("x-99")), "value 99");
    check_value(headers_get(&copy, HDR_CONTENT_TYPE), "text/plain");
    headers_add(&copy, STR("x-100"), STR("more"));
    check_value(headers_find(&copy, STR("x-100")), "more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_known_name_is_found_by_its_text),
        cmocka_unit_test_setup_teardown(values_of_one_name_keep_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_value_is_present, setup, teardown),
        cmocka_unit_test_setup_teardown(set_keeps_the_place_of_the_first_and_drops_the_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(remove_takes_all_of_that_name, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ids_tell_what_is_in_the_list_after_every_change, setup, teardown),
        cmocka_unit_test_setup_teardown(several_known_names_are_removed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_shares_nothing_with_its_source, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
