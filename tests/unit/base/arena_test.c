/* Allocation, growth and reset of arenas. */
#include "sidecar/base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void memory_is_aligned_and_distinct(void **state)
{
    (void)state;
    struct arena *a = arena_new(64);
    char *before = NULL;
    for (size_t n = 0; n < 200; n++) {
        char *p = arena_alloc(a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, (int)n, n);
        if (before && n > 1)
            assert_int_equal(before[0], (char)(n - 1));
        before = p;
    }
    arena_free(&a);
    assert_null(a);
    arena_free(&a);
}

static void zalloc_clears_reused_memory(void **state)
{
    (void)state;
    struct arena *a = arena_new(256);
    memset(arena_alloc(a, 128), 0xff, 128);
    arena_reset(a);
    const char *p = arena_zalloc(a, 128);
    for (size_t i = 0; i < 128; i++)
        assert_int_equal(p[i], 0);
    arena_free(&a);
}

static void reset_gives_back_all_but_the_first_chunk(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    size_t empty = arena_bytes(a);
    for (unsigned round = 0; round < 3; round++) {
        arena_alloc(a, 1000000);
        for (unsigned i = 0; i < 1000; i++)
            arena_alloc(a, 100);
        assert_true(arena_bytes(a) > 1100000);
        arena_reset(a);
        assert_int_equal(arena_bytes(a), empty);
    }
    arena_free(&a);
}

static void an_arena_for_a_request_is_empty_however_the_last_was_used(void **state)
{
    (void)state;
    struct arena *many[100];
    many[0] = arena_acquire();
    size_t empty = arena_bytes(many[0]);
    arena_release(&many[0]);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 100; i++) {
            many[i] = arena_acquire();
            assert_int_equal(arena_bytes(many[i]), empty);
            memset(arena_alloc(many[i], 100), 0xff, 100);
            memset(arena_alloc(many[i], 100000), 0xff, 100000);
        }
        for (unsigned i = 0; i < 100; i++) {
            arena_release(&many[i]);
            assert_null(many[i]);
        }
    }
    arena_release(&many[0]);
    many[0] = arena_new(64);
    arena_release(&many[0]);
    many[0] = arena_acquire();
    assert_true(arena_bytes(many[0]) > 1000);
    arena_release(&many[0]);
}

static void chunks_stop_doubling_at_64_kib(void **state)
{
    (void)state;
    struct arena *a = arena_new(64);
    for (unsigned i = 0; i < 64; i++)
        arena_alloc(a, 64 * 1024);
    assert_true(arena_bytes(a) < 64 * (64 * 1024 + 64) + 2 * 64 * 1024);
    arena_free(&a);
}

static void copies_end_in_nul(void **state)
{
    (void)state;
    struct arena *a = arena_new(64);
    struct str s = arena_str(a, str_n("abcdef", 3));
    assert_int_equal(s.n, 3);
    assert_string_equal(s.p, "abc");
    assert_string_equal(arena_str(a, STR("")).p, "");
    assert_null(arena_str(a, STR_NONE).p);
    assert_string_equal(arena_strdup(a, "x"), "x");
    assert_null(arena_strdup(a, NULL));
    assert_string_equal(arena_printf(a, "%d-%s", 7, "y").p, "7-y");
    assert_memory_equal(arena_memdup(a, "q\0r", 3), "q\0r", 3);
    arena_memdup(a, NULL, 0);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_distinct),
        cmocka_unit_test(zalloc_clears_reused_memory),
        cmocka_unit_test(reset_gives_back_all_but_the_first_chunk),
        cmocka_unit_test(an_arena_for_a_request_is_empty_however_the_last_was_used),
        cmocka_unit_test(chunks_stop_doubling_at_64_kib),
        cmocka_unit_test(copies_end_in_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
