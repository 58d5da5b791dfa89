/* Length-prefixed messages: one byte of flags, four of length, the message (gRPC over HTTP2, "Length-Prefixed-Message"). */
#ifndef OUTRIGGER_GRPC_FRAMING_H
#define OUTRIGGER_GRPC_FRAMING_H

#include "sidecar/base/buf.h"

#define FRAMING_HEAD_BYTES 5

enum framing_result {
    FRAMING_MORE,       /* the input is used up */
    FRAMING_MESSAGE,    /* *message_r is a whole message */
    FRAMING_COMPRESSED, /* the flag is set: no compression was agreed on */
    FRAMING_TOO_LARGE,  /* the length is above the limit */
};

/* A reader of one direction of one call. Holds at most one message that is not complete. */
struct framing {
    uint32_t max_message_bytes;
    bool emptied; /* the message in partial was handed out and goes at the next call */
    struct buf partial;
};

void framing_init(struct framing *f, uint32_t max_message_bytes);
void framing_fini(struct framing *f);
/* Takes bytes off the front of *input until a message is whole; call it again with the rest until it says FRAMING_MORE.
 * *message_r is good until the next call. After a fault every call gives it again. */
enum framing_result framing_next(struct framing *f, struct str *input, struct str *message_r);
/* Whether a message has begun and is not whole: at the end of a stream that is a fault. */
bool framing_is_partial(const struct framing *f);
/* The length that made the reader say FRAMING_TOO_LARGE. */
uint32_t framing_length(const struct framing *f);
/* The head of a message of n bytes. */
void framing_head(uint8_t head_r[FRAMING_HEAD_BYTES], size_t n);

#endif
