#include "sidecar/net/dns.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/net/timer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- A name server on a thread: knows a few names under "test". ---- */

struct record {
    const char *name;
    uint16_t type; /* 1 A, 28 AAAA */
    uint32_t ttl_s;
    const char *address;
};

static const struct record zone[] = {
    {"two.test", 1, 300, "10.0.0.1"}, {"two.test", 1, 60, "10.0.0.2"},
    {"both.test", 1, 30, "10.0.0.3"}, {"both.test", 28, 20, "fd00::3"},
    {"six.test", 28, 40, "fd00::6"},
};

static int server_fd;
static struct addr server_at;
static pthread_t server;

static size_t read_name(const uint8_t *q, size_t n, char *name, size_t cap)
{
    size_t at = 12, len = 0;
    while (at < n && q[at] != 0 && len + q[at] + 1 < cap) {
        memcpy(name + len, q + at + 1, q[at]);
        len += q[at];
        name[len++] = '.';
        at += q[at] + 1u;
    }
    name[len ? len - 1 : 0] = '\0';
    return at + 1;
}

static void put(struct buf *b, uint32_t value, unsigned width)
{
    while (width-- > 0)
        buf_append_byte(b, (uint8_t)(value >> (8 * width)));
}

static unsigned put_answers(struct buf *b, const char *name, uint16_t type, bool *known_r)
{
    unsigned count = 0;
    for (size_t i = 0; i < ARRAY_LEN(zone); i++) {
        struct addr a;
        if (strcmp(zone[i].name, name) != 0)
            continue;
        *known_r = true;
        if (zone[i].type != type)
            continue;
        addr_from_ip(str_of(zone[i].address), 0, &a);
        put(b, 0xc00c, 2);
        put(b, type, 2);
        put(b, 1, 2);
        put(b, zone[i].ttl_s, 4);
        put(b, type == 1 ? 4 : 16, 2);
        if (type == 1)
            buf_append(b, &a.in.sin_addr, 4);
        else
            buf_append(b, &a.in6.sin6_addr, 16);
        count++;
    }
    return count;
}

static void answer(const uint8_t *q, size_t n, const struct addr *peer)
{
    char name[256];
    struct buf answers = {0}, out = {0};
    bool known = false;
    size_t end = read_name(q, n, name, sizeof(name));
    if (strcmp(name, "silent.test") == 0)
        return;
    uint16_t type = (uint16_t)(q[end] << 8 | q[end + 1]);
    unsigned count = put_answers(&answers, name, type, &known);
    buf_append(&out, q, 2);
    put(&out, known ? 0x8180 : 0x8183, 2); /* no error, or NXDOMAIN */
    put(&out, 1, 2);
    put(&out, count, 2);
    put(&out, 0, 4);
    buf_append(&out, q + 12, end + 4 - 12);
    buf_append_str(&out, buf_str(&answers));
    sendto(server_fd, buf_head(&out), buf_len(&out), 0, &peer->sa, peer->len);
    buf_fini(&answers);
    buf_fini(&out);
}

static void *serve(void *arg)
{
    uint8_t q[1024];
    (void)arg;
    for (;;) {
        struct addr peer = {.len = sizeof(peer.un)};
        ssize_t n = recvfrom(server_fd, q, sizeof(q), 0, &peer.sa, &peer.len);
        if (n == 1)
            return NULL;
        if (n > 16)
            answer(q, (size_t)n, &peer);
    }
}

static int start_server(void **state)
{
    (void)state;
    addr_parse(STR("127.0.0.1:0"), &server_at);
    server_fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(server_fd, &server_at.sa, server_at.len), 0);
    getsockname(server_fd, &server_at.sa, &server_at.len);
    return pthread_create(&server, NULL, serve, NULL);
}

static int stop_server(void **state)
{
    (void)state;
    sendto(server_fd, "q", 1, 0, &server_at.sa, server_at.len);
    pthread_join(server, NULL);
    close(server_fd);
    return 0;
}

/* ---- Asking. ---- */

static struct loop *loop;
static struct dns *dns;
static char got[256];
static unsigned calls;
static int status;

static void on_answer(void *ctx, const struct dns_answer *a)
{
    struct buf text = {0};
    (void)ctx;
    calls++;
    status = a->status;
    for (unsigned i = 0; i < a->count; i++) {
        char ip[ADDR_TEXT_CAP];
        assert_int_equal(addr_port(&a->addrs[i]), 0);
        buf_printf(&text, "%s ", addr_format_ip(&a->addrs[i], ip, sizeof(ip)));
    }
    buf_printf(&text, "ttl %u", a->ttl_s);
    buf_append_byte(&text, '\0');
    strcpy(got, (char *)buf_head(&text));
    buf_fini(&text);
    loop_stop(loop);
}

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    dns = dns_new(loop);
    calls = 0;
    return dns_set_servers(dns, &server_at, 1) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    dns_free(&dns);
    assert_null(dns);
    loop_free(&loop);
    return 0;
}

static void names_give_addresses_of_the_families_asked_for(void **state)
{
    static const struct {
        const char *name;
        enum dns_family family;
        const char *got; /* NULL: an error */
    } cases[] = {
        {"two.test", DNS_V4_ONLY, "10.0.0.1 10.0.0.2 ttl 60"},
        {"both.test", DNS_V4_ONLY, "10.0.0.3 ttl 30"},
        {"both.test", DNS_V6_ONLY, "fd00::3 ttl 20"},
        {"both.test", DNS_AUTO, "fd00::3 ttl 20"},
        {"both.test", DNS_V4_PREFERRED, "10.0.0.3 ttl 30"},
        {"two.test", DNS_AUTO, "10.0.0.1 10.0.0.2 ttl 60"},
        {"six.test", DNS_V4_PREFERRED, "fd00::6 ttl 40"},
        {"six.test", DNS_V4_ONLY, NULL},
        {"nobody.test", DNS_AUTO, NULL},
        {"10.1.2.3", DNS_V4_ONLY, "10.1.2.3 ttl 0"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_non_null(dns_resolve(dns, cases[i].name, cases[i].family, on_answer, NULL));
        assert_int_equal(calls, i); /* never before dns_resolve returned */
        loop_run(loop);
        assert_int_equal(calls, i + 1);
        assert_int_equal(status == 0, cases[i].got != NULL);
        if (cases[i].got)
            assert_string_equal(got, cases[i].got);
        else
            assert_true(strlen(dns_status_text(status)) > 5);
    }
}

static void all_gives_both_families(void **state)
{
    (void)state;
    dns_resolve(dns, "both.test", DNS_ALL, on_answer, NULL);
    loop_run(loop);
    assert_non_null(strstr(got, "10.0.0.3 "));
    assert_non_null(strstr(got, "fd00::3 "));
    assert_non_null(strstr(got, "ttl 20"));
}

static void stop(struct timer *t)
{
    loop_stop(t->loop);
}

static void a_cancelled_query_is_mute(void **state)
{
    struct timer t;
    (void)state;
    struct dns_query *asked = dns_resolve(dns, "two.test", DNS_V4_ONLY, on_answer, NULL);
    struct dns_query *literal = dns_resolve(dns, "10.0.0.1", DNS_V4_ONLY, on_answer, NULL);
    dns_cancel(&asked);
    dns_cancel(&literal);
    assert_null(asked);
    timer_init(&t, loop, stop);
    timer_arm(&t, 50);
    loop_run(loop);
    assert_int_equal(calls, 0);
}

static void freeing_cancels_what_is_open_and_what_is_answered(void **state)
{
    (void)state;
    dns_resolve(dns, "silent.test", DNS_V4_ONLY, on_answer, NULL);
    dns_resolve(dns, "10.0.0.1", DNS_V4_ONLY, on_answer, NULL);
    dns_free(&dns);
    loop_run_ready(loop);
    assert_int_equal(calls, 0);
}

static void after_a_refusal_the_servers_are_asked_anew(void **state)
{
    struct addr nobody;
    (void)state;
    addr_parse(STR("127.0.0.1:1"), &nobody);
    assert_true(dns_set_servers(dns, &nobody, 1));
    for (unsigned i = 0; i < 2; i++) {
        dns_resolve(dns, "two.test", DNS_V4_ONLY, on_answer, NULL);
        loop_run(loop);
        assert_int_equal(calls, i + 1);
        assert_int_not_equal(status, 0);
    }
    assert_true(dns_set_servers(dns, &server_at, 1));
    dns_resolve(dns, "two.test", DNS_V4_ONLY, on_answer, NULL);
    loop_run(loop);
    assert_int_equal(status, 0);
}

int main(void)
{
#define DNS_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        DNS_TEST(names_give_addresses_of_the_families_asked_for),
        DNS_TEST(all_gives_both_families),
        DNS_TEST(a_cancelled_query_is_mute),
        DNS_TEST(freeing_cancels_what_is_open_and_what_is_answered),
        DNS_TEST(after_a_refusal_the_servers_are_asked_anew),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
