/* What the tests of this room share: tables and requests in a few words. */
#ifndef OUTRIGGER_TESTS_ROUTE_SUPPORT_H
#define OUTRIGGER_TESTS_ROUTE_SUPPORT_H

#include "sidecar/route/match.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A str in a static table. */
#define S(literal)                      \
    {                                   \
        "" literal, sizeof(literal) - 1 \
    }

/* A table with one virtual host for "*" and room for count routes, which forward to "r0", "r1" and
 * so on. */
static inline struct route_table *table_of(unsigned count)
{
    struct route_table *t = route_table_new(STR("table"));
    struct err err = {0};
    t->vhosts = ARENA_ARRAY(t->arena, struct virtual_host, 1);
    t->vhost_count = 1;
    t->vhosts[0].name = STR("vhost");
    t->vhosts[0].routes = ARENA_ARRAY(t->arena, struct route, count);
    t->vhosts[0].route_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct route *r = &t->vhosts[0].routes[i];
        r->vhost = &t->vhosts[0];
        r->match.path = STR("/");
        r->name = r->forward.cluster = arena_printf(t->arena, "r%u", i);
    }
    if (!route_table_add_domain(t, STR("*"), &t->vhosts[0], &err))
        fail_msg("%s", err.text);
    route_table_seal(t);
    return t;
}

static inline struct regex *regex_of(struct route_table *t, const char *pattern)
{
    struct err err = {0};
    struct regex *r = regex_new(str_of(pattern), &err);
    if (!r)
        fail_msg("%s", err.text);
    t->regexes = xrealloc(t->regexes, (t->regex_count + 1) * sizeof(struct regex *));
    t->regexes[t->regex_count++] = r;
    return r;
}

/* headers: "name: value\n" lines, or NULL. */
static inline struct http_request *request_of(struct arena *a, const char *method,
                                              const char *authority, const char *path,
                                              const char *headers)
{
    struct http_request *r = ARENA_NEW(a, struct http_request);
    struct str rest = str_of(headers), line;
    http_request_init(r, a);
    r->method = str_of(method);
    r->scheme = STR("http");
    r->authority = str_of(authority);
    r->path = str_of(path);
    r->is_connect = strcmp(method, "CONNECT") == 0;
    while (str_next(&rest, '\n', &line)) {
        ptrdiff_t colon = str_index(line, ':', 0);
        assert_true(colon > 0);
        headers_add_copy(&r->headers, str_sub(line, 0, (size_t)colon),
                         str_trim(str_sub(line, (size_t)colon + 1, SIZE_MAX)));
    }
    return r;
}

static inline const struct format *format_of(struct arena *a, const char *text)
{
    struct err err = {0};
    const struct format *f = format_compile(a, str_of(text), &err);
    if (!f)
        fail_msg("%s", err.text);
    return f;
}

/* All fields as "name: value\n", in order. */
static inline char *text_of(const struct headers *h)
{
    struct buf b = {0};
    for (uint32_t i = 0; i < h->count; i++)
        buf_printf(&b, "%.*s: %.*s\n", STR_FMT(h->v[i].name), STR_FMT(h->v[i].value));
    return buf_take(&b);
}

static inline void assert_str(struct str s, const char *expected)
{
    if (!str_eq_c(s, expected))
        fail_msg("\"%.*s\", not \"%s\"", STR_FMT(s), expected);
}

#endif
