/* Documents in files: found, replaced, removed, with all else left alone. */
#include "control/sources/edit.h"
#include "sidecar/base/die.h"
#include "tests/unit/control/fixture.h"
#include "tests/unit/control/sources/root.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DOCUMENT(name) "apiVersion: v1\nkind: Pod\nmetadata: {name: " name "}\n"
#define FRESH DOCUMENT("b") "# new\n"

static char *write_file(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", root, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void expect_file(const char *path, const char *expected)
{
    char text[4096];
    FILE *f = fopen(path, "r");
    if (!expected) {
        assert_null(f);
        return;
    }
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, expected);
}

static const struct object *named(const struct check_objects *objects, const char *name)
{
    for (unsigned i = 0; i < objects->count; i++) {
        if (str_eq_c(objects->v[i]->name, name))
            return objects->v[i];
    }
    fail_msg("no object %s", name);
    return NULL;
}

static const struct {
    const char *name, *before, *replaced, *removed;
} rows[] = {
    {"alone", DOCUMENT("b"), FRESH, NULL},
    {"alone behind a separator", "---\n" DOCUMENT("b"), "---\n" FRESH, NULL},
    {"first", DOCUMENT("b") "---\n" DOCUMENT("c"), FRESH "---\n" DOCUMENT("c"), "---\n" DOCUMENT("c")},
    {"last", DOCUMENT("a") "---\n" DOCUMENT("b"), DOCUMENT("a") "---\n" FRESH, DOCUMENT("a")},
    {"in the middle", "# top\n" DOCUMENT("a") "--- # b\n" DOCUMENT("b") "---\n" DOCUMENT("c"),
     "# top\n" DOCUMENT("a") "--- # b\n" FRESH "---\n" DOCUMENT("c"), "# top\n" DOCUMENT("a") "---\n" DOCUMENT("c")},
    {"on the line of its separator", DOCUMENT("a") "--- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n---\n" DOCUMENT("c"),
     DOCUMENT("a") "---\n" FRESH "---\n" DOCUMENT("c"), DOCUMENT("a") "---\n" DOCUMENT("c")},
    {"without a line end", DOCUMENT("a") "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}", DOCUMENT("a") "---\n" FRESH, DOCUMENT("a")},
    {"a line that only looks like a separator", "# ---\n" DOCUMENT("b") "#---x\n---\n" DOCUMENT("c"), FRESH "---\n" DOCUMENT("c"),
     "---\n" DOCUMENT("c")},
};

static void documents_are_replaced(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct fixture f;
        char *path = write_file("f.yaml", rows[i].before), *written = NULL;
        f.arena = arena_new(4096);
        findings_init(&f.findings, f.arena);
        f.objects = check_text(str_of(rows[i].before), path, f.arena, &f.findings);
        if (!edit_put(root, named(&f.objects, "b"), NULL, STR(FRESH), &written, &err))
            fail_msg("%s: %s", rows[i].name, err.text);
        assert_string_equal(written, path);
        expect_file(path, rows[i].replaced);
        free(written);
        free(path);
        fixture_fini(&f);
    }
}

static void documents_are_removed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct fixture f;
        char *path = write_file("f.yaml", rows[i].before);
        f.arena = arena_new(4096);
        findings_init(&f.findings, f.arena);
        f.objects = check_text(str_of(rows[i].before), path, f.arena, &f.findings);
        if (!edit_delete(named(&f.objects, "b"), &err))
            fail_msg("%s: %s", rows[i].name, err.text);
        expect_file(path, rows[i].removed);
        free(path);
        fixture_fini(&f);
    }
}

static void new_objects_have_files_of_their_own(void **state)
{
    (void)state;
    struct err err = {0};
    struct fixture f;
    char *written = NULL;
    fixture_read(&f, DOCUMENT("b"));
    assert_true(edit_put(root, NULL, f.objects.v[0], STR("x: y"), &written, &err));
    assert_true(str_has_suffix(str_of(written), STR("/applied/Pod.default.b.yaml")));
    expect_file(written, "x: y\n");
    free(written);
    fixture_fini(&f);
}

static void what_cannot_be_edited_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct arena *arena = arena_new(4096);
    struct findings findings;
    static const char list[] = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
    static const char json[] = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"b\"}}";
    char *path = write_file("f.yaml", list), *json_path = write_file("g.json", json), *written = NULL;
    findings_init(&findings, arena);
    struct check_objects items = check_text(str_of(list), path, arena, &findings);
    assert_false(edit_put(root, items.v[0], NULL, STR(FRESH), &written, &err));
    assert_false(edit_delete(items.v[0], &err));
    assert_non_null(strstr(err.text, "List"));
    expect_file(path, list);
    err = (struct err){0};
    struct check_objects one = check_text(str_of(json), json_path, arena, &findings);
    assert_false(edit_put(root, one.v[0], NULL, STR(FRESH), &written, &err));
    assert_non_null(strstr(err.text, "JSON"));
    free(written);
    expect_file(json_path, json);
    unlink(json_path);
    err = (struct err){0};
    assert_false(edit_delete(one.v[0], &err));
    free(path);
    free(json_path);
    arena_free(&arena);
}

#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ROOT(documents_are_replaced),
        IN_ROOT(documents_are_removed),
        IN_ROOT(new_objects_have_files_of_their_own),
        IN_ROOT(what_cannot_be_edited_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
