/* Owns the bytes of a message that came in pieces. On the loop's thread.
 *
 * A message that lies whole in the input is handed out where it lies; only one cut by the end of the input is copied.
 * The buffer grows with the bytes that came, never with the length that was promised. */
#include "sidecar/grpc/framing.h"

#include "sidecar/base/die.h"

void framing_init(struct framing *f, uint32_t max_message_bytes)
{
    *f = (struct framing){.max_message_bytes = max_message_bytes};
}

void framing_fini(struct framing *f)
{
    buf_fini(&f->partial);
}

static uint32_t length_of(const uint8_t *head)
{
    return (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4];
}

static enum framing_result check_head(const struct framing *f, const uint8_t *head)
{
    if (head[0] != 0)
        return FRAMING_COMPRESSED;
    return length_of(head) > f->max_message_bytes ? FRAMING_TOO_LARGE : FRAMING_MESSAGE;
}

/* Moves bytes of the input behind the partial message until it holds `want`; false: the input ran out first. */
static bool fill(struct framing *f, struct str *input, size_t want)
{
    size_t have = buf_len(&f->partial);
    size_t take = want > have ? want - have : 0;
    if (take > input->n)
        take = input->n;
    if (take > 0)
        buf_append(&f->partial, input->p, take);
    *input = str_sub(*input, take, input->n);
    return buf_len(&f->partial) >= want;
}

static enum framing_result next_partial(struct framing *f, struct str *input, struct str *message_r)
{
    if (!fill(f, input, FRAMING_HEAD_BYTES))
        return FRAMING_MORE;
    enum framing_result head = check_head(f, buf_head(&f->partial));
    if (head != FRAMING_MESSAGE)
        return head;
    size_t n = length_of(buf_head(&f->partial));
    if (!fill(f, input, FRAMING_HEAD_BYTES + n))
        return FRAMING_MORE;
    *message_r = str_sub(buf_str(&f->partial), FRAMING_HEAD_BYTES, n);
    f->emptied = true;
    return FRAMING_MESSAGE;
}

enum framing_result framing_next(struct framing *f, struct str *input, struct str *message_r)
{
    if (f->emptied) {
        buf_fini(&f->partial);
        f->emptied = false;
    }
    if (buf_len(&f->partial) == 0 && input->n >= FRAMING_HEAD_BYTES) {
        const uint8_t *head = (const uint8_t *)input->p;
        if (check_head(f, head) == FRAMING_MESSAGE &&
            input->n - FRAMING_HEAD_BYTES >= length_of(head)) {
            *message_r = str_sub(*input, FRAMING_HEAD_BYTES, length_of(head));
            *input = str_sub(*input, FRAMING_HEAD_BYTES + message_r->n, input->n);
            return FRAMING_MESSAGE;
        }
    }
    return next_partial(f, input, message_r);
}

bool framing_is_partial(const struct framing *f)
{
    return !f->emptied && buf_len(&f->partial) > 0;
}

uint32_t framing_length(const struct framing *f)
{
    struct str head = buf_str(&f->partial);
    return head.n >= FRAMING_HEAD_BYTES ? length_of((const uint8_t *)head.p) : 0;
}

void framing_head(uint8_t head_r[FRAMING_HEAD_BYTES], size_t n)
{
    assert(n <= UINT32_MAX);
    head_r[0] = 0;
    head_r[1] = (uint8_t)(n >> 24);
    head_r[2] = (uint8_t)(n >> 16);
    head_r[3] = (uint8_t)(n >> 8);
    head_r[4] = (uint8_t)n;
}
