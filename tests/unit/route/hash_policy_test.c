/* Hashes for ring hash and maglev. That equal hashes find Envoy's own host was seen with a real
 * ring. */
#include "route_support.h"

#include "sidecar/base/hash.h"

#include <stdio.h>

struct result {
    bool have;
    uint64_t hash;
    char cookie[128]; /* "": none */
};

static struct result hash_of(const struct hash_policy *policies, unsigned count, const char *path,
                             const char *head)
{
    struct arena *a = arena_new(512);
    struct route_forward f = {.hash = (struct hash_policy *)(uintptr_t)policies,
                              .hash_count = count};
    struct result r = {.have = false};
    struct str cookie;
    r.have = route_hash(&f, request_of(a, "GET", "h", path, head), STR("127.0.0.1"), a, 42, &r.hash,
                        &cookie);
    snprintf(r.cookie, sizeof(r.cookie), "%.*s", STR_FMT(cookie));
    arena_free(&a);
    return r;
}

static uint64_t xx(const char *text)
{
    return hash_xx64(text, strlen(text), 0);
}

static void one_value_hashes_as_xxh64_with_seed_0(void **state)
{
    static const struct {
        struct hash_policy policy;
        const char *path, *head, *hashed; /* NULL: no hash */
    } cases[] = {
        {{.kind = HASH_HEADER, .name = S("x")}, "/", "x: v1\n", "v1"},
        {{.kind = HASH_HEADER, .name = S("x")}, "/", "x:\n", ""},
        {{.kind = HASH_HEADER, .name = S("x")}, "/", NULL, NULL},
        {{.kind = HASH_HEADER, .name = S(":path")}, "/a?b", NULL, "/a?b"},
        {{.kind = HASH_HEADER, .name = S("host")}, "/", NULL, "h"},
        {{.kind = HASH_HEADER, .name = S(":method")}, "/", NULL, "GET"},
        {{.kind = HASH_HEADER, .name = S("user-agent")},
         "/",
         "user-agent: b\nuser-agent: a\n",
         "b,a"},
        {{.kind = HASH_QUERY, .name = S("q")}, "/?q=z&q=2", NULL, "z"},
        {{.kind = HASH_QUERY, .name = S("q")}, "/?q=", NULL, ""},
        {{.kind = HASH_QUERY, .name = S("q")}, "/", NULL, NULL},
        {{.kind = HASH_SOURCE_IP}, "/", NULL, "127.0.0.1"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result r = hash_of(&cases[i].policy, 1, cases[i].path, cases[i].head);
        assert_int_equal(r.have, cases[i].hashed != NULL);
        if (r.have)
            assert_true(r.hash == xx(cases[i].hashed));
        assert_string_equal(r.cookie, "");
    }
}

static void several_values_hash_in_sorted_order_each_seeding_the_next(void **state)
{
    (void)state;
    struct hash_policy p = {.kind = HASH_HEADER, .name = STR("x")};
    uint64_t expected = hash_xx64("b", 1, hash_xx64("a", 1, 0));
    assert_true(hash_of(&p, 1, "/", "x: b\nx: a\n").hash == expected);
    assert_true(hash_of(&p, 1, "/", "x: a\nx: b\n").hash == expected);
}

static void policies_combine_by_rotation_until_a_terminal_one(void **state)
{
    (void)state;
    struct hash_policy p[] = {{.kind = HASH_HEADER, .name = STR("x")},
                              {.kind = HASH_QUERY, .name = STR("q")}};
    uint64_t a = xx("1"), b = xx("z");
    assert_true(hash_of(p, 2, "/?q=z", "x: 1\n").hash == (((a << 1) | (a >> 63)) ^ b));
    assert_true(hash_of(p, 2, "/?q=z", NULL).hash == b);
    assert_true(hash_of(p, 2, "/", "x: 1\n").hash == a);
    p[0].terminal = true;
    assert_true(hash_of(p, 2, "/?q=z", "x: 1\n").hash == a);
    assert_true(hash_of(p, 2, "/?q=z", NULL).hash == b);
    assert_false(hash_of(p, 2, "/", NULL).have);
    assert_false(hash_of(p, 0, "/", NULL).have);
}

static void cookies_are_read_or_made(void **state)
{
    static const struct {
        const char *head, *hashed; /* NULL: a cookie is made */
    } cases[] = {
        {NULL, NULL},
        {"cookie: sid=\n", NULL},
        {"cookie: sid=\"\"\n", NULL},
        {"cookie: SID=1\n", NULL},
        {"cookie: sid\n", NULL},
        {"cookie: xsid=1\n", NULL},
        {"cookie: a=b; sid = 5 ; x\n", NULL},
        {"cookie: sid=1\n", "1"},
        {"cookie: a=b; sid=2\n", "2"},
        {"cookie: a=b;sid=\"3\"\n", "3"},
        {"cookie: a=b\ncookie: sid=4\n", "4"},
        {"cookie: sid=6=7\n", "6=7"},
        {"cookie: sid=\"8\n", "\"8"},
        {"cookie: sid=9; sid=10\n", "9"},
    };
    (void)state;
    struct hash_policy p = {
        .kind = HASH_COOKIE, .name = STR("sid"), .cookie_ttl_s = 60, .cookie_path = STR("/p")};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result r = hash_of(&p, 1, "/", cases[i].head);
        assert_true(r.have);
        if (r.hash != xx(cases[i].hashed ? cases[i].hashed : "000000000000002a"))
            fail_msg("%s", cases[i].head);
        assert_string_equal(
            r.cookie,
            cases[i].hashed ? "" : "sid=\"000000000000002a\"; Max-Age=60; Path=/p; HttpOnly");
    }
    p.cookie_ttl_s = 0;
    p.cookie_path = STR_NONE;
    assert_string_equal(hash_of(&p, 1, "/", NULL).cookie, "sid=\"000000000000002a\"; HttpOnly");
    p.cookie_ttl_s = -1;
    struct result none = hash_of(&p, 1, "/", NULL);
    assert_false(none.have);
    assert_string_equal(none.cookie, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_hashes_as_xxh64_with_seed_0),
        cmocka_unit_test(several_values_hash_in_sorted_order_each_seeding_the_next),
        cmocka_unit_test(policies_combine_by_rotation_until_a_terminal_one),
        cmocka_unit_test(cookies_are_read_or_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
