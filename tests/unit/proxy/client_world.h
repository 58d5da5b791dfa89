/* The world and its clients as one test file has them: fresh for every case, and gone behind it. */
#ifndef OUTRIGGER_TESTS_UNIT_PROXY_CLIENT_WORLD_H
#define OUTRIGGER_TESTS_UNIT_PROXY_CLIENT_WORLD_H

#include "tests/unit/proxy/world.h"

static struct world w;
static struct side client, other;

static inline int set_up(void **state)
{
    (void)state;
    world_open(&w);
    client = other = (struct side){0};
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    buf_fini(&client.got);
    buf_fini(&other.got);
    return 0;
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#define TYPE(name) "\"@type\": type.googleapis.com/envoy.extensions.filters." name
#define GET "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

static inline void begin(const struct addr *at, const char *bytes)
{
    world_dial(&w, &client, at);
    conn_write(client.conn, bytes, strlen(bytes));
}

static inline bool has(const struct side *s, const char *text)
{
    return str_find(buf_str(&s->got), str_of(text)) >= 0;
}

static inline bool is_closed(void)
{
    return client.eof_calls + client.end_calls > 0;
}

#endif
