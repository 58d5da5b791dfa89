/* proxy_protocol: what it says about a beginning it must say about all that follows, however the bytes arrived; a header it
 * takes is one that it can write again. */
#include "sidecar/base/die.h"
#include "sidecar/net/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_found(const struct proxy_protocol *r, size_t n)
{
    const struct proxy_protocol_rules any = {0};
    struct proxy_protocol again;
    uint8_t out[PROXY_PROTOCOL_WRITE_CAP];
    assert(r->length <= n && r->length <= PROXY_PROTOCOL_LIMIT_BYTES && (r->version == 1 || r->version == 2));
    if (!r->has_addresses)
        return;
    assert(r->source.sa.sa_family == r->destination.sa.sa_family);
    for (unsigned version = 1; version <= 2; version++) {
        size_t written = proxy_protocol_write(version, &r->source, &r->destination, out);
        assert(proxy_protocol_read(out, written, &any, &again) == PROXY_PROTOCOL_FOUND);
        assert(addr_eq(&again.source, &r->source) && addr_eq(&again.destination, &r->destination));
    }
}

/* Which of the two it is can hang on the version that a beginning looks like. */
static bool is_refusal(enum proxy_protocol_verdict v)
{
    return v == PROXY_PROTOCOL_BAD || v == PROXY_PROTOCOL_DENIED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    const struct proxy_protocol_rules rules = {
        .on = true, .is_optional = data[0] & 1, .no_v1 = data[0] & 2, .no_v2 = data[0] & 4};
    size_t step = data[1] + 1u;
    struct proxy_protocol whole, grown;
    data += 2;
    n -= 2;
    enum proxy_protocol_verdict verdict = proxy_protocol_read(data, n, &rules, &whole);
    assert(verdict != PROXY_PROTOCOL_MORE || n < PROXY_PROTOCOL_LIMIT_BYTES);
    if (verdict == PROXY_PROTOCOL_FOUND)
        check_found(&whole, n);
    for (size_t at = 0; at < n; at += step) {
        enum proxy_protocol_verdict early = proxy_protocol_read(data, at, &rules, &grown);
        if (early == PROXY_PROTOCOL_MORE)
            continue;
        assert(is_refusal(early) ? is_refusal(verdict) : early == verdict);
        if (early == PROXY_PROTOCOL_FOUND)
            assert(grown.length == whole.length && grown.has_addresses == whole.has_addresses);
        return 0;
    }
    return 0;
}
