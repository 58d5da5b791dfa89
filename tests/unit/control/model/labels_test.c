/* Label sets and selectors. */
#include "control/model/istio.h"
#include "control/model/labels.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MAX 4

/* Builds the set as it comes out of a protobuf map: "key", "value", ..., NULL. */
static struct labels set_of(struct arena *a, const char *const *words)
{
    void *entries[MAX];
    size_t n = 0;
    for (; words[2 * n]; n++) {
        ISTIO(Subset__LabelsEntry) *e = ARENA_NEW(a, ISTIO(Subset__LabelsEntry));
        istio__networking__v1alpha3__subset__labels_entry__init(e);
        e->key = arena_strdup(a, words[2 * n]);
        e->value = arena_strdup(a, words[2 * n + 1]);
        entries[n] = e;
    }
    return labels_from_map(a, n, entries);
}

static void a_selector_wants_all_of_its_labels(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *selector[2 * MAX + 1], *labels[2 * MAX + 1];
        bool matches;
    } rows[] = {
        {"an empty selector selects all", {NULL}, {"app", "a", NULL}, true},
        {"equal sets", {"app", "a", NULL}, {"app", "a", NULL}, true},
        {"the order does not count", {"version", "v1", "app", "a", NULL}, {"app", "a", "x", "y", "version", "v1", NULL}, true},
        {"another value", {"app", "a", NULL}, {"app", "b", NULL}, false},
        {"a key is missing", {"app", "a", "version", "v1", NULL}, {"app", "a", NULL}, false},
        {"nothing has labels", {"app", "a", NULL}, {NULL}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new(512);
        bool got = labels_match(set_of(a, rows[i].selector), set_of(a, rows[i].labels));
        if (got != rows[i].matches)
            fail_msg("%s", rows[i].name);
        arena_free(&a);
    }
}

static void labels_are_found_and_written_in_order(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct labels set = set_of(a, (const char *[]){"version", "v1", "app", "a", NULL});
    struct labels copy = labels_copy(a, set);
    struct buf out = {0};
    labels_write(copy, &out);
    assert_true(str_eq(buf_str(&out), STR("app=a,version=v1")));
    assert_true(str_eq(labels_get(copy, "version"), STR("v1")));
    assert_null(labels_get(copy, "none").p);
    assert_true(labels_equal(set, copy));
    assert_false(labels_equal(set, set_of(a, (const char *[]){"app", "a", NULL})));
    buf_fini(&out);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_selector_wants_all_of_its_labels),
        cmocka_unit_test(labels_are_found_and_written_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
