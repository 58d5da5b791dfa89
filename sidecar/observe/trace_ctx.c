/* Reads and prints identifiers; no state, any thread. Headers come from peers: whatever is not
 * exactly an id is refused, never guessed. */
#include "sidecar/observe/trace_ctx.h"

#include "sidecar/base/die.h"

#include <string.h>

/* ---- Hex. ---- */

/* Lower case unless any_case: traceparent knows no capitals, B3 is lenient. */
static int hex_value(char c, bool any_case)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return any_case && c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_hex(struct str s, bool any_case, uint8_t *bytes, size_t n)
{
    if (s.n != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(s.p[2 * i], any_case), low = hex_value(s.p[2 * i + 1], any_case);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static char *print_hex(const uint8_t *bytes, size_t n, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = '\0';
    return text;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

static bool ids_are_valid(const struct trace_ctx *c)
{
    return !is_zero(c->trace_id, sizeof(c->trace_id)) && !is_zero(c->span_id, sizeof(c->span_id));
}

static bool refuse(struct trace_ctx *c)
{
    memset(c, 0, sizeof(*c));
    return false;
}

/* ---- Randomness. ---- */

static void draw(struct rng *r, uint8_t *bytes, size_t n)
{
    do {
        for (size_t i = 0; i < n; i += 8) {
            uint64_t x = rng_u64(r);
            memcpy(bytes + i, &x, n - i < 8 ? n - i : 8);
        }
    } while (is_zero(bytes, n));
}

char *trace_request_id(struct rng *r, char text[TRACE_REQUEST_ID_SIZE])
{
    uint8_t id[16];
    char *at = text;
    draw(r, id, sizeof(id));
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    for (size_t i = 0, from = 0; i < sizeof(groups); from += groups[i++]) {
        if (i > 0)
            *at++ = '-';
        at = print_hex(id + from, groups[i], at);
    }
    return text;
}

void trace_start(struct trace_ctx *c, struct rng *r)
{
    enum trace_sampled sampled = c->sampled;
    memset(c, 0, sizeof(*c));
    draw(r, c->trace_id, sizeof(c->trace_id));
    draw(r, c->span_id, sizeof(c->span_id));
    c->has_ids = true;
    c->sampled = sampled;
}

void trace_continue(struct trace_ctx *c, struct rng *r)
{
    assert(c->has_ids);
    memcpy(c->parent_id, c->span_id, sizeof(c->parent_id));
    draw(r, c->span_id, sizeof(c->span_id));
}

/* ---- traceparent. ---- */

bool trace_parse_traceparent(struct str header, struct trace_ctx *c_r)
{
    uint8_t version, flags;
    memset(c_r, 0, sizeof(*c_r));
    header = str_trim(header);
    if (header.n < 55 || header.p[2] != '-' || header.p[35] != '-' || header.p[52] != '-')
        return false;
    if (!parse_hex(str_sub(header, 0, 2), false, &version, 1) || version == 0xff ||
        (version == 0 && header.n != 55) || (header.n > 55 && header.p[55] != '-'))
        return false;
    if (!parse_hex(str_sub(header, 3, 32), false, c_r->trace_id, 16) ||
        !parse_hex(str_sub(header, 36, 16), false, c_r->span_id, 8) ||
        !parse_hex(str_sub(header, 53, 2), false, &flags, 1) || !ids_are_valid(c_r))
        return refuse(c_r);
    c_r->has_ids = true;
    c_r->sampled = flags & 1 ? TRACE_SAMPLED : TRACE_NOT_SAMPLED;
    return true;
}

char *trace_print_traceparent(const struct trace_ctx *c, char text[TRACE_TRACEPARENT_SIZE])
{
    char *at = text;
    assert(c->has_ids);
    memcpy(at, "00-", 3);
    at = print_hex(c->trace_id, 16, at + 3);
    *at++ = '-';
    at = print_hex(c->span_id, 8, at);
    memcpy(at, c->sampled >= TRACE_SAMPLED ? "-01" : "-00", 4);
    return text;
}

/* ---- B3. ---- */

static bool parse_b3_trace_id(struct str s, struct trace_ctx *c)
{
    if (parse_hex(s, true, c->trace_id, 16))
        return true;
    c->short_trace_id = true;
    return parse_hex(s, true, c->trace_id + 8, 8);
}

static bool parse_b3_ids(struct str trace_id, struct str span_id, struct str parent_id,
                         struct trace_ctx *c)
{
    if (!parse_b3_trace_id(trace_id, c) || !parse_hex(span_id, true, c->span_id, 8) ||
        (parent_id.n > 0 && !parse_hex(parent_id, true, c->parent_id, 8)))
        return false;
    c->has_ids = true;
    return ids_are_valid(c);
}

static bool parse_b3_state(struct str s, struct trace_ctx *c)
{
    char state = s.n == 1 ? s.p[0] : '\0';
    if (state == '1' || str_ieq(s, STR("true")))
        c->sampled = TRACE_SAMPLED;
    else if (state == '0' || str_ieq(s, STR("false")))
        c->sampled = TRACE_NOT_SAMPLED;
    else if (state == 'd')
        c->sampled = TRACE_DEBUG;
    else
        return false;
    return true;
}

bool trace_parse_b3(struct str header, struct trace_ctx *c_r)
{
    struct str part[4] = {STR_NONE, STR_NONE, STR_NONE, STR_NONE}, rest = str_trim(header);
    unsigned count = 0;
    memset(c_r, 0, sizeof(*c_r));
    while (count < 4 && str_next(&rest, '-', &part[count]))
        count++;
    if (count == 0 || rest.p || str_has_suffix(str_trim(header), STR("-")))
        return false;
    if (count == 1)
        return parse_b3_state(part[0], c_r) || refuse(c_r);
    if (!parse_b3_ids(part[0], part[1], part[3], c_r) ||
        (count > 2 && !parse_b3_state(part[2], c_r)))
        return refuse(c_r);
    return true;
}

bool trace_parse_b3_multi(struct str trace_id, struct str span_id, struct str parent_id,
                          struct str sampled, struct str flags, struct trace_ctx *c_r)
{
    memset(c_r, 0, sizeof(*c_r));
    if (trace_id.n > 0 || span_id.n > 0)
        if (!parse_b3_ids(trace_id, span_id, parent_id, c_r))
            return refuse(c_r);
    if (sampled.n > 0 && !parse_b3_state(sampled, c_r))
        return refuse(c_r);
    if (str_eq(flags, STR("1")))
        c_r->sampled = TRACE_DEBUG;
    return c_r->has_ids || c_r->sampled != TRACE_UNDECIDED;
}

char *trace_print_trace_id(const struct trace_ctx *c, char text[TRACE_HEX_SIZE])
{
    if (c->short_trace_id)
        print_hex(c->trace_id + 8, 8, text);
    else
        print_hex(c->trace_id, 16, text);
    return text;
}

char *trace_print_span_id(const uint8_t id[8], char text[TRACE_HEX_SIZE])
{
    print_hex(id, 8, text);
    return text;
}

char *trace_print_b3(const struct trace_ctx *c, char text[TRACE_B3_SIZE])
{
    static const char states[] = {'\0', '0', '1', 'd'};
    assert(c->has_ids);
    trace_print_trace_id(c, text);
    char *at = text + strlen(text);
    *at++ = '-';
    at = print_hex(c->span_id, 8, at);
    if (c->sampled != TRACE_UNDECIDED) {
        *at++ = '-';
        *at++ = states[c->sampled];
        if (!is_zero(c->parent_id, sizeof(c->parent_id))) {
            *at++ = '-';
            at = print_hex(c->parent_id, 8, at);
        }
    }
    *at = '\0';
    return text;
}
