/* A compiled format from within: format.c parses and runs, format_ops.c knows the operators,
 * format_time.c the times. */
#ifndef OUTRIGGER_OBSERVE_FORMAT_PRIV_H
#define OUTRIGGER_OBSERVE_FORMAT_PRIV_H

#include "sidecar/observe/format.h"

struct time_format;
struct operator;

/* One operator with its parameters, or plain text (op NULL). */
struct piece {
    const struct operator* op;
    struct str text; /* plain text; a header's name; what is fixed when compiled (a host name) */
    struct str alternative; /* a header's second name; empty: none */
    const struct time_format *time;
    bool has_limit;
    uint64_t limit; /* bytes of the value at most */
};

/* What a format runs on. */
struct format_input {
    const struct stream_info *info;
    stream_info_header_fn *headers;
    void *ctx;
};

/* Appends the value; false, with nothing appended, where there is none. */
typedef bool operator_fn(const struct piece *p, const struct format_input *in, struct buf *out);

enum operator_params {
    PARAMS_NONE,
    PARAMS_TIME,        /* optional: a strftime format */
    PARAMS_HEADER,      /* NAME or NAME?ALTERNATIVE; a length is allowed */
    PARAMS_ENVIRONMENT, /* NAME; a length is allowed */
    PARAMS_GRPC,        /* optional: CAMEL_STRING, SNAKE_STRING or NUMBER */
    PARAMS_SPACES,      /* optional: ALLOW_WHITESPACES */
    PARAMS_HOSTNAME,    /* none; fixed when compiled */
};

struct operator
{
    const char *name;
    operator_fn *fn;
    enum operator_params params;
    bool is_number; /* unquoted in JSON */
    size_t a, b;    /* members of struct stream_info that fn reads */
    char which;     /* for headers; 'l' for local time */
};

const struct operator* operator_find(struct str name);
/* The same operator in numbers: for GRPC_STATUS(NUMBER). */
const struct operator* operator_grpc_variant(struct str name);

/* NULL with err. The default (ISO 8601 with milliseconds, UTC) for an empty text. */
const struct time_format *time_format_compile(struct arena *a, struct str text, bool local,
                                              struct err *err);
void time_format_run(const struct time_format *f, uint64_t wall_us, struct buf *out);

#endif
