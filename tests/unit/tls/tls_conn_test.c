/* A whole TLS connection between two of our own: handshake, data, ends, resumption, change of certificates. */
#include "tls_world.h"

#include <unistd.h>

static struct cert ca, leaf, other_leaf;
static struct tls_pair pairs[2];
static struct str h2_first[] = {{"h2", 2}, {"http/1.1", 8}};

static struct tls_spec server_spec(void)
{
    return (struct tls_spec){.side = TLS_DOWNSTREAM, .pairs = pairs, .pair_count = 1, .alpn = h2_first, .alpn_count = 2};
}

static struct tls_spec client_spec(void)
{
    return (struct tls_spec){.side = TLS_UPSTREAM, .trusted_ca = ca.pem, .max = TLS_VERSION_1_3, .max_sessions = 1};
}

static int set_up(void **state)
{
    (void)state;
    world_init();
    ca = cert_make(world.arena, (struct cert_order){.common_name = "ca", .is_ca = true, .path_length = -1});
    leaf = cert_make(world.arena, (struct cert_order){.common_name = "leaf", .issuer = &ca, .sans = "DNS:a.example"});
    other_leaf = cert_make(world.arena, (struct cert_order){.common_name = "other", .issuer = &ca, .sans = "DNS:b.example"});
    pairs[0] = (struct tls_pair){.chain = leaf.pem, .key = leaf.key_pem};
    pairs[1] = (struct tls_pair){.chain = other_leaf.pem, .key = other_leaf.key_pem};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_fini();
    cert_free(&ca);
    cert_free(&leaf);
    cert_free(&other_leaf);
    return 0;
}

static void begin(struct tls_spec server, struct tls_spec client)
{
    world.server_ctx = world_ctx(server);
    world.client_ctx = world_ctx(client);
    world_connect(NULL);
}

static void run_until(const struct buf *b, size_t n)
{
    for (unsigned i = 0; i < 2000 && buf_len(b) < n; i++)
        pair_run_ms(&world.pair, 1);
    assert_int_equal(buf_len(b), n);
}

static void say_both_ways(void)
{
    conn_write(world.pair.client.conn, "ping", 4);
    conn_write(world.pair.server.conn, "pong", 4);
    run_until(&world.pair.server.got, 4);
    run_until(&world.pair.client.got, 4);
    assert_memory_equal(buf_head(&world.pair.server.got), "ping", 4);
    assert_memory_equal(buf_head(&world.pair.client.got), "pong", 4);
}

static void bytes_go_both_ways_in_every_version(void **state)
{
    (void)state;
    static const enum tls_version versions[] = {TLS_VERSION_1_0, TLS_VERSION_1_1, TLS_VERSION_1_2, TLS_VERSION_1_3};
    static const char *const names[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};
    for (unsigned i = 0; i < ARRAY_LEN(versions); i++) {
        struct tls_spec server = server_spec(), client = client_spec();
        server.min = client.min = TLS_VERSION_1_0;
        server.max = client.max = versions[i];
        if (versions[i] < TLS_VERSION_1_2)
            server.ciphers = client.ciphers = STR("ECDHE-ECDSA-AES128-SHA");
        begin(server, client);
        assert_int_equal(world.pair.client.ready_calls, 1);
        say_both_ways();
        assert_string_equal(tls_conn_facts(world.pair.client.conn, world.arena)->version.p, names[i]);
        assert_string_equal(tls_conn_facts(world.pair.server.conn, world.arena)->version.p, names[i]);
        world_disconnect();
        tls_ctx_unref(&world.server_ctx);
        tls_ctx_unref(&world.client_ctx);
    }
    assert_int_equal(world_server_stat(TLS_STAT_HANDSHAKE), 4);
    assert_int_equal(world_server_stat(TLS_STAT_NO_CERTIFICATE), 4);
    assert_int_equal(world_client_stat(TLS_STAT_NO_CERTIFICATE), 0);
}

static void versions_that_do_not_meet_are_refused(void **state)
{
    (void)state;
    struct tls_spec server = server_spec(), client = client_spec();
    server.min = TLS_VERSION_1_3;
    client.max = TLS_VERSION_1_2;
    begin(server, client);
    assert_int_equal(world.pair.client.end, CONN_END_TRANSPORT);
    assert_non_null(strstr(world.pair.client.failure, "TLSV1_ALERT_PROTOCOL_VERSION"));
    assert_int_equal(world_server_stat(TLS_STAT_CONNECTION_ERROR), 1);
    assert_int_equal(world_client_stat(TLS_STAT_CONNECTION_ERROR), 1);
}

static void the_servers_order_of_protocols_decides(void **state)
{
    (void)state;
    static struct str h1_first[] = {{"http/1.1", 8}, {"h2", 2}};
    struct tls_spec client = client_spec();
    client.alpn = h1_first;
    client.alpn_count = 2;
    begin(server_spec(), client);
    assert_true(str_eq(conn_alpn(world.pair.client.conn), STR("h2")));
    assert_true(str_eq(conn_alpn(world.pair.server.conn), STR("h2")));
}

static void protocols_without_overlap_leave_none(void **state)
{
    (void)state;
    static struct str none_of_them[] = {{"istio", 5}};
    struct tls_spec client = client_spec();
    client.alpn = none_of_them;
    client.alpn_count = 1;
    begin(server_spec(), client);
    assert_int_equal(world.pair.client.ready_calls, 1);
    assert_int_equal(conn_alpn(world.pair.client.conn).n, 0);
}

static void many_bytes_arrive_as_they_were_written(void **state)
{
    (void)state;
    static uint8_t bytes[3000000];
    begin(server_spec(), client_spec());
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    size_t at = 0, step = 1;
    while (at < sizeof(bytes)) { /* pieces of many sizes, by conn_write and by conn_writev */
        size_t n = sizeof(bytes) - at < step ? sizeof(bytes) - at : step;
        struct iovec iov[3] = {{bytes + at, n / 3}, {bytes + at + n / 3, n / 3}, {bytes + at + 2 * (n / 3), n - 2 * (n / 3)}};
        conn_writev(world.pair.client.conn, iov, 3);
        at += n;
        step = step * 3 % 70001 + 1;
    }
    run_until(&world.pair.server.got, sizeof(bytes));
    assert_memory_equal(buf_head(&world.pair.server.got), bytes, sizeof(bytes));
    assert_int_equal(conn_bytes_written(world.pair.client.conn), sizeof(bytes));
}

static void a_paused_reader_stops_the_writer(void **state)
{
    (void)state;
    static uint8_t bytes[16 * 1024 * 1024];
    begin(server_spec(), client_spec());
    conn_read_pause(world.pair.server.conn);
    conn_write(world.pair.client.conn, bytes, sizeof(bytes));
    pair_run_ms(&world.pair, 50);
    assert_true(conn_is_above_high(world.pair.client.conn));
    assert_true(buf_len(&world.pair.server.got) < 128 * 1024);
    conn_read_resume(world.pair.server.conn);
    run_until(&world.pair.server.got, sizeof(bytes));
}

static void half_close_leaves_the_other_way_open(void **state)
{
    (void)state;
    begin(server_spec(), client_spec());
    conn_write(world.pair.client.conn, "last", 4);
    conn_shutdown(world.pair.client.conn);
    run_until(&world.pair.server.got, 4);
    pair_run_ms(&world.pair, 5);
    assert_int_equal(world.pair.server.eof_calls, 1);
    conn_write(world.pair.server.conn, "answer", 6);
    run_until(&world.pair.client.got, 6);
    conn_shutdown(world.pair.server.conn);
    pair_run_ms(&world.pair, 20);
    assert_int_equal(world.pair.client.end, CONN_END_EOF);
    assert_int_equal(world.pair.server.end, CONN_END_EOF);
}

static void close_tells_the_peer_before_the_socket_closes(void **state)
{
    (void)state;
    begin(server_spec(), client_spec());
    uint64_t before = world.pair.server.data_calls;
    conn_close(world.pair.client.conn);
    pair_run_ms(&world.pair, 10);
    assert_int_equal(world.pair.server.eof_calls, 1);
    assert_int_equal(world.pair.server.data_calls, before);
    assert_int_equal(world.pair.client.end, CONN_END_LOCAL);
}

static void a_plain_client_is_an_error(void **state)
{
    (void)state;
    world.server_ctx = world_ctx(server_spec());
    world.pair.client.conn = dial(world.pair.loop, &world.pair.at, NULL);
    conn_set_handler(world.pair.client.conn, &side_handler, &world.pair.client);
    conn_write(world.pair.client.conn, "GET / HTTP/1.1\r\n\r\n", 18);
    for (unsigned i = 0; i < 200 && !world.pair.server.end_calls; i++)
        pair_run_ms(&world.pair, 2);
    assert_int_equal(world.pair.server.end, CONN_END_TRANSPORT);
    assert_non_null(strstr(world.pair.server.failure, "HTTP_REQUEST"));
    assert_int_equal(world.pair.server.data_calls, 0);
    assert_int_equal(world_server_stat(TLS_STAT_CONNECTION_ERROR), 1);
}

static void plain_bytes_before_the_servers_hello_are_an_error(void **state)
{
    (void)state;
    world.client_ctx = world_ctx(client_spec());
    world.pair.client.conn = dial(world.pair.loop, &world.pair.at, NULL);
    tls_conn_connect(world.pair.client.conn, world.client_ctx, &(struct tls_target){0}, (struct tls_counts){world.client_stats, 0});
    conn_set_handler(world.pair.client.conn, &side_handler, &world.pair.client);
    for (unsigned i = 0; i < 200 && !world.pair.server.conn; i++)
        pair_run_ms(&world.pair, 1);
    conn_write(world.pair.server.conn, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 38);
    for (unsigned i = 0; i < 200 && !world.pair.client.end_calls; i++)
        pair_run_ms(&world.pair, 2);
    assert_int_equal(world.pair.client.end, CONN_END_TRANSPORT);
    assert_int_equal(world.pair.client.data_calls, 0);
    assert_non_null(strstr(world.pair.client.failure, "TLS_error:|"));
}

static void a_handshake_that_never_ends_is_cut_by_the_connect_timeout(void **state)
{
    (void)state;
    world.client_ctx = world_ctx(client_spec()); /* the server is plain, and silent */
    world_connect(&(struct dial_options){.connect_timeout_ms = 30});
    assert_int_equal(world.pair.client.end, CONN_END_CONNECT_TIMEOUT);
}

static void a_context_without_material_fails_by_name(void **state)
{
    (void)state;
    world.server_ctx = world_ctx(server_spec());
    world.client_ctx = tls_ctx_new(NULL);
    world_connect(NULL);
    assert_int_equal(world.pair.client.end, CONN_END_TRANSPORT);
    assert_string_equal(world.pair.client.failure, "TLS error: Secret is not supplied by SDS");
}

static void sessions_are_resumed(enum tls_version version)
{
    struct tls_spec client = client_spec();
    client.max = version;
    begin(server_spec(), client);
    say_both_ways();
    world_disconnect();
    world.server_row = 1; /* another worker: the same ticket keys */
    world_connect(NULL);
    say_both_ways();
    assert_int_equal(world_server_stat(TLS_STAT_SESSION_REUSED), 1);
    assert_int_equal(world_client_stat(TLS_STAT_SESSION_REUSED), 1);
}

static void sessions_of_1_3_are_resumed_by_another_worker(void **state)
{
    (void)state;
    sessions_are_resumed(TLS_VERSION_1_3);
}

static void sessions_of_1_2_are_resumed_by_another_worker(void **state)
{
    (void)state;
    sessions_are_resumed(TLS_VERSION_1_2);
}

static void a_session_does_not_outlive_its_time_by_new_tickets(void **state)
{
    (void)state;
    static const unsigned waits_ms[] = {0, 1200, 1900};
    struct tls_spec server = server_spec();
    server.session_timeout_s = 2;
    world.server_ctx = world_ctx(server);
    world.client_ctx = world_ctx(client_spec());
    for (unsigned i = 0; i < ARRAY_LEN(waits_ms); i++) {
        pair_run_ms(&world.pair, waits_ms[i]);
        world_connect(NULL);
        say_both_ways(); /* the ticket comes before */
        world_disconnect();
        assert_int_equal(world_server_stat(TLS_STAT_SESSION_REUSED), i > 0 ? 1 : 0);
    }
    assert_int_equal(world_server_stat(TLS_STAT_HANDSHAKE), 3);
}

static void sessions_go_to_the_name_that_they_are_of(void **state)
{
    (void)state;
    world.sni = STR("a.example");
    begin(server_spec(), client_spec());
    say_both_ways();
    world_disconnect();
    world.sni = STR("b.example");
    world_connect(NULL);
    assert_int_equal(world_client_stat(TLS_STAT_SESSION_REUSED), 0);
}

static void no_session_is_kept_where_none_may_be(void **state)
{
    (void)state;
    struct tls_spec server = server_spec();
    server.no_tickets = true;
    begin(server, client_spec());
    say_both_ways();
    world_disconnect();
    world_connect(NULL);
    say_both_ways();
    assert_int_equal(world_client_stat(TLS_STAT_SESSION_REUSED), 0);
}

static void tickets_of_an_older_key_still_count(void **state)
{
    (void)state;
    static uint8_t keys[2][TLS_TICKET_KEY_BYTES];
    memset(keys[0], 1, sizeof(keys[0]));
    memset(keys[1], 2, sizeof(keys[1]));
    struct tls_spec server = server_spec();
    server.ticket_keys = (const uint8_t(*)[TLS_TICKET_KEY_BYTES])keys;
    server.ticket_key_count = 1;
    begin(server, client_spec());
    say_both_ways();
    world_disconnect();
    uint8_t newer[2][TLS_TICKET_KEY_BYTES];
    memcpy(newer[0], keys[1], sizeof(newer[0]));
    memcpy(newer[1], keys[0], sizeof(newer[1]));
    server.ticket_keys = (const uint8_t(*)[TLS_TICKET_KEY_BYTES])newer;
    server.ticket_key_count = 2;
    struct err err = {0};
    tls_ctx_put(world.server_ctx, tls_material_new(&server, arena_new(1024), &err));
    world_connect(NULL);
    say_both_ways();
    assert_int_equal(world_server_stat(TLS_STAT_SESSION_REUSED), 1);
}

static void a_change_of_certificates_ends_no_connection(void **state)
{
    (void)state;
    struct tls_spec server = server_spec();
    struct err err = {0};
    begin(server, client_spec());
    say_both_ways();
    struct conn *old_client = world.pair.client.conn, *old_server = world.pair.server.conn;
    server.pairs = &pairs[1];
    tls_ctx_put(world.server_ctx, tls_material_new(&server, arena_new(1024), &err));
    conn_write(old_client, "more", 4);
    conn_write(old_server, "moar", 4);
    run_until(&world.pair.server.got, 8);
    run_until(&world.pair.client.got, 8);
    assert_int_equal(world.pair.server.end_calls + world.pair.client.end_calls, 0);
    world_disconnect();
    world_connect(NULL);
    assert_string_equal(tls_conn_facts(world.pair.client.conn, world.arena)->peer_names.p, "b.example");
    assert_int_equal(world_client_stat(TLS_STAT_SESSION_REUSED), 0); /* old tickets ended with the old keys */
}

static void the_certificate_is_chosen_by_server_name(void **state)
{
    (void)state;
    static const struct {
        const char *sni, *want;
    } cases[] = {{"a.example", "a.example"}, {"b.example", "b.example"}, {"B.EXAMPLE", "b.example"},
                 {"c.example", "a.example"}, {"", "a.example"}};
    struct tls_spec server = server_spec(), client = client_spec();
    server.pair_count = 2;
    client.max_sessions = 0;
    world.server_ctx = world_ctx(server);
    world.client_ctx = world_ctx(client);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        world.sni = str_of(cases[i].sni);
        world_connect(NULL);
        assert_int_equal(world.pair.client.ready_calls, 1);
        assert_string_equal(tls_conn_facts(world.pair.client.conn, world.arena)->peer_names.p, cases[i].want);
        assert_true(str_ieq(tls_conn_facts(world.pair.server.conn, world.arena)->server_name, world.sni));
        world_disconnect();
    }
}

static void facts_name_both_sides(void **state)
{
    (void)state;
    static struct cert client_leaf;
    static struct tls_pair pair;
    client_leaf = cert_make(world.arena, (struct cert_order){.common_name = "client", .issuer = &ca,
                                                             .sans = "URI:spiffe://d/ns/x/sa/y,DNS:c.example,email:a@b,IP:10.0.0.1"});
    pair = (struct tls_pair){.chain = client_leaf.pem, .key = client_leaf.key_pem};
    struct tls_spec server = server_spec(), client = client_spec();
    server.trusted_ca = ca.pem;
    server.require_certificate = true;
    client.pairs = &pair;
    client.pair_count = 1;
    begin(server, client);
    const struct tls_facts *f = tls_conn_facts(world.pair.server.conn, world.arena);
    assert_string_equal(f->peer_subject.p, "CN=client");
    assert_string_equal(f->peer_issuer.p, "CN=ca");
    assert_string_equal(f->peer_uris.p, "spiffe://d/ns/x/sa/y");
    assert_string_equal(f->peer_names.p, "c.example");
    assert_string_equal(f->peer_emails.p, "a@b");
    assert_string_equal(f->peer_ips.p, "10.0.0.1");
    assert_int_equal(f->peer_fingerprint_256.n, 64);
    assert_string_equal(f->local_subject.p, "CN=leaf");
    assert_int_equal(world_server_stat(TLS_STAT_NO_CERTIFICATE), 0);
    cert_free(&client_leaf);
}

static void the_end_of_the_peer_in_the_handshake_is_told(void **state)
{
    (void)state;
    world.server_ctx = world_ctx(server_spec());
    world.pair.client.conn = dial(world.pair.loop, &world.pair.at, NULL);
    conn_set_handler(world.pair.client.conn, &side_handler, &world.pair.client);
    conn_write(world.pair.client.conn, "\x16\x03\x01", 3);
    conn_shutdown(world.pair.client.conn);
    for (unsigned i = 0; i < 200 && !world.pair.server.end_calls; i++)
        pair_run_ms(&world.pair, 2);
    assert_int_equal(world.pair.server.end, CONN_END_TRANSPORT);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    tls_ctx_set_rows(2);
    const struct CMUnitTest tests[] = {
        CASE(bytes_go_both_ways_in_every_version),
        CASE(versions_that_do_not_meet_are_refused),
        CASE(the_servers_order_of_protocols_decides),
        CASE(protocols_without_overlap_leave_none),
        CASE(many_bytes_arrive_as_they_were_written),
        CASE(a_paused_reader_stops_the_writer),
        CASE(half_close_leaves_the_other_way_open),
        CASE(close_tells_the_peer_before_the_socket_closes),
        CASE(a_plain_client_is_an_error),
        CASE(plain_bytes_before_the_servers_hello_are_an_error),
        CASE(a_handshake_that_never_ends_is_cut_by_the_connect_timeout),
        CASE(a_context_without_material_fails_by_name),
        CASE(sessions_of_1_3_are_resumed_by_another_worker),
        CASE(sessions_of_1_2_are_resumed_by_another_worker),
        CASE(a_session_does_not_outlive_its_time_by_new_tickets),
        CASE(sessions_go_to_the_name_that_they_are_of),
        CASE(no_session_is_kept_where_none_may_be),
        CASE(tickets_of_an_older_key_still_count),
        CASE(a_change_of_certificates_ends_no_connection),
        CASE(the_certificate_is_chosen_by_server_name),
        CASE(facts_name_both_sides),
        CASE(the_end_of_the_peer_in_the_handshake_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
