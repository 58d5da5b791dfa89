/* Judges the frames of a peer before nghttp2 does: what comes on closed streams, and what comes too often.
 *
 * On the loop's thread; the counts live in the codec. nghttp2 1.52 ignores frames on closed streams and takes any number of
 * PRIORITY, empty, WINDOW_UPDATE and PING frames; each of them costs us more than it costs the sender. The limits are
 * Envoy's where Envoy has one. Frames without such a formula (PING, SETTINGS, GOAWAY, unknown types, RST_STREAM for nothing)
 * take a token each; tokens come back with time and with frames that carry something, so a keepalive or a
 * bandwidth probe never runs dry. So do heads above the limits, which cost decoding and an answer; one that is
 * far above them is no mistake but a bomb.
 *
 * A frame on a closed stream is fine when we closed it while the peer was still sending (RFC 9113 5.1): its frames
 * may be under way. When the peer itself ended the stream before, it is a fault. The latest closed streams are remembered in a
 * ring; what fell out of it is let pass. */
#include "sidecar/http/h2_priv.h"

#include <string.h>

#define BUCKET_CAP 200u
#define BUCKET_PER_S 20u
#define MAX_EMPTIES_IN_ROW 1u           /* max_consecutive_inbound_frames_with_empty_payload */
#define MAX_PRIORITIES_A_STREAM 100u    /* max_inbound_priority_frames_per_stream */
#define MAX_UPDATES_A_DATA_FRAME 10u    /* max_inbound_window_update_frames_per_data_frame_sent */
#define RESETS_BEFORE_JUDGING 500u      /* overload.premature_reset_total_stream_count */
#define REFUSED_STREAMS 1000u           /* before the peer acknowledged the limit: afterwards nghttp2 takes none */
#define BOMB_FACTOR 4u                  /* times the SETTINGS_MAX_HEADER_LIST_SIZE that the peer was told */

static struct h2_fault calm(const char *details)
{
    return (struct h2_fault){NGHTTP2_ENHANCE_YOUR_CALM, details};
}

static uint64_t now_ms(const struct h2_codec *h)
{
    return loop_now_ms(conn_loop(h->base.conn));
}

static bool take_token(struct h2_bucket *b, uint64_t now)
{
    if (b->filled_ms == 0) {
        b->tokens = BUCKET_CAP;
        b->filled_ms = now > 0 ? now : 1;
    }
    uint64_t earned = (now - b->filled_ms) * BUCKET_PER_S / 1000;
    if (earned > 0) {
        b->tokens = earned > BUCKET_CAP - b->tokens ? BUCKET_CAP : b->tokens + (uint32_t)earned;
        b->filled_ms = now;
    }
    if (b->tokens == 0)
        return false;
    b->tokens--;
    return true;
}

static void give_token(struct h2_bucket *b)
{
    if (b->filled_ms > 0 && b->tokens < BUCKET_CAP)
        b->tokens++;
}

void h2_gate_useful(struct h2_codec *h)
{
    struct h2_gate *g = &h->gate;
    give_token(&g->pings);
    give_token(&g->settings);
    give_token(&g->others);
    give_token(&g->large_heads);
}

static struct h2_fault check_rate(struct h2_codec *h, struct h2_bucket *b, const char *details)
{
    return take_token(b, now_ms(h)) ? H2_FINE : calm(details);
}

/* ---- Closed streams. ---- */

static struct h2_fault check_closed(struct h2_codec *h, const nghttp2_frame_hd *hd)
{
    struct h2_gate *g = &h->gate;
    int32_t id = hd->stream_id;
    if (hd->type == NGHTTP2_HEADERS && id > g->last_id) {
        g->last_id = id;
        g->streams_opened++;
        return H2_FINE;
    }
    if (id > g->last_id || id <= g->forgotten_id)
        return H2_FINE; /* idle: nghttp2 sees that itself */
    if (nghttp2_session_get_stream_remote_close(h->session, id) >= 0)
        return H2_FINE;
    for (unsigned i = 0; i < H2_CLOSED_RING; i++) {
        if (g->closed[i] >> 1 != (uint32_t)id)
            continue;
        if (g->closed[i] & 1)
            return H2_FINE;
        return (struct h2_fault){NGHTTP2_STREAM_CLOSED, "http2.frame_on_closed_stream"};
    }
    /* Never opened, and passed over: it is closed by that (5.1.1). */
    return (struct h2_fault){NGHTTP2_PROTOCOL_ERROR, "http2.decreasing_stream_id"};
}

struct h2_fault h2_gate_stream_closed(struct h2_codec *h, int32_t id, bool by_us, bool premature)
{
    struct h2_gate *g = &h->gate;
    uint32_t *slot = &g->closed[g->closed_at++ % H2_CLOSED_RING];
    if ((int32_t)(*slot >> 1) > g->forgotten_id)
        g->forgotten_id = (int32_t)(*slot >> 1);
    *slot = (uint32_t)id << 1 | by_us;
    g->streams_closed++;
    g->streams_premature += premature;
    /* Half of all; and as soon as good ones could not make up for it any more before all are judged. */
    uint64_t of = g->streams_closed < RESETS_BEFORE_JUDGING ? RESETS_BEFORE_JUDGING : g->streams_closed;
    return premature && g->streams_premature * 2 >= of ? calm("too_many_premature_resets") : H2_FINE;
}

/* ---- Floods. ---- */

static struct h2_fault check_empty(struct h2_gate *g, bool empty)
{
    if (!empty) {
        g->empties_in_row = 0;
        return H2_FINE;
    }
    return ++g->empties_in_row > MAX_EMPTIES_IN_ROW ? calm("http2.inbound_empty_frames_flood") : H2_FINE;
}

static struct h2_fault check_priority(struct h2_gate *g)
{
    if (++g->priorities > MAX_PRIORITIES_A_STREAM * (1 + g->streams_opened))
        return calm("codec_error:Too_many_PRIORITY_frames");
    return H2_FINE;
}

static struct h2_fault check_window_update(struct h2_gate *g)
{
    if (++g->window_updates > 5 + 2 * (g->streams_opened + MAX_UPDATES_A_DATA_FRAME * g->data_frames_sent))
        return calm("codec_error:Too_many_WINDOW_UPDATE_frames");
    return H2_FINE;
}

static struct h2_fault check_frequency(struct h2_codec *h, const nghttp2_frame_hd *hd)
{
    struct h2_gate *g = &h->gate;
    switch (hd->type) {
    case NGHTTP2_DATA: /* with a payload: when it is whole */
        if (hd->length > 0)
            return H2_FINE;
        return check_empty(g, !(hd->flags & NGHTTP2_FLAG_END_STREAM));
    case NGHTTP2_HEADERS:
        return check_empty(g, hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM));
    case NGHTTP2_CONTINUATION:
        return check_empty(g, hd->length == 0);
    case NGHTTP2_PRIORITY:
        return check_priority(g);
    case NGHTTP2_WINDOW_UPDATE:
        return check_window_update(g);
    case NGHTTP2_PING:
        return check_rate(h, &g->pings, "http2.inbound_ping_frames_flood");
    case NGHTTP2_SETTINGS:
        return check_rate(h, &g->settings, "http2.inbound_settings_frames_flood");
    case NGHTTP2_RST_STREAM:
        if (nghttp2_session_get_stream_remote_close(h->session, hd->stream_id) >= 0)
            return H2_FINE; /* judged when the stream closes */
        return check_rate(h, &g->others, "http2.inbound_reset_frames_flood");
    default:
        return check_rate(h, &g->others, "http2.inbound_other_frames_flood");
    }
}

struct h2_fault h2_gate_frame_begin(struct h2_codec *h, const nghttp2_frame_hd *hd)
{
    if (h->base.is_server && hd->type == NGHTTP2_HEADERS && (hd->stream_id & 1)) {
        struct h2_fault fault = check_closed(h, hd);
        if (fault.code)
            return fault;
    }
    struct h2_fault fault = check_frequency(h, hd);
    size_t waiting = nghttp2_session_get_outbound_queue_size(h->session);
    if (!fault.code && waiting > H2_MAX_CONTROL_FRAMES + 2 * (size_t)h->active)
        return calm("http2.outbound_frames_flood");
    return fault;
}

struct h2_fault h2_gate_data_whole(struct h2_codec *h, const nghttp2_frame *frame)
{
    if (frame->hd.length == 0)
        return H2_FINE;
    /* Nothing but padding is as empty as nothing. */
    bool padding_only = frame->data.padlen >= frame->hd.length;
    if (!padding_only)
        h2_gate_useful(h);
    return check_empty(&h->gate, padding_only && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM));
}

void h2_gate_data_sent(struct h2_codec *h)
{
    h->gate.data_frames_sent++;
    h2_gate_useful(h);
}

struct h2_fault h2_gate_section(const struct h2_codec *h, size_t bytes, uint32_t count)
{
    uint64_t told = h2_header_list_bytes(h->base.options);
    return bytes + (uint64_t)count * H2_FIELD_OVERHEAD > BOMB_FACTOR * told ? calm("http2.header_list_flood") : H2_FINE;
}

struct h2_fault h2_gate_stream_refused(struct h2_codec *h)
{
    return ++h->gate.streams_refused > REFUSED_STREAMS ? calm("http2.refused_streams_flood") : H2_FINE;
}

struct h2_fault h2_gate_large_head(struct h2_codec *h)
{
    return check_rate(h, &h->gate.large_heads, "http2.inbound_large_heads_flood");
}

/* ---- The walk. ---- */

/* nghttp2 drops DATA on closed streams, and frames of unknown types, before it calls anybody: these are found by walking the
 * heads of frames. What came before DATA must have been taken by nghttp2 when it is judged: the walk stops there. */
static struct h2_fault judge_head(struct h2_codec *h, const uint8_t *head)
{
    nghttp2_frame_hd hd = {.type = head[3]};
    hd.stream_id = (int32_t)((head[5] & 0x7fu) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8]);
    if (hd.type > NGHTTP2_CONTINUATION)
        return check_rate(h, &h->gate.others, "http2.inbound_other_frames_flood");
    if (hd.type == NGHTTP2_DATA && h->base.is_server && hd.stream_id & 1)
        return check_closed(h, &hd);
    return H2_FINE;
}

static uint32_t length_of(const uint8_t *head)
{
    return (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
}

size_t h2_gate_walk(struct h2_codec *h, const uint8_t *data, size_t n, struct h2_fault *fault_r)
{
    struct h2_gate *g = &h->gate;
    size_t at = 0;
    *fault_r = H2_FINE;
    while (at < n && !fault_r->code) {
        if (g->frame_left > 0) {
            size_t skip = g->frame_left < n - at ? g->frame_left : n - at;
            g->frame_left -= (uint32_t)skip;
            at += skip;
            continue;
        }
        if (g->head_have == 0 && at > 0 && n - at >= H2_FRAME_HEAD_BYTES && data[at + 3] == NGHTTP2_DATA)
            return at;
        size_t take = H2_FRAME_HEAD_BYTES - g->head_have;
        take = take < n - at ? take : n - at;
        memcpy(g->head + g->head_have, data + at, take);
        g->head_have += (unsigned)take;
        at += take;
        if (g->head_have < H2_FRAME_HEAD_BYTES)
            break;
        g->head_have = 0;
        g->frame_left = length_of(g->head);
        *fault_r = judge_head(h, g->head);
    }
    return at;
}
