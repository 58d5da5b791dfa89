/* The codes of findings. A number is never reused. 01xx: text and schema; 02xx: references; 03xx: rules that
 * contradict or shadow; 04xx: resilience settings without effect. */
#ifndef OUTRIGGER_PROTO_CODES_H
#define OUTRIGGER_PROTO_CODES_H

enum finding_code {
    OG_SYNTAX = 101,         /* not YAML or JSON */
    OG_DUPLICATE_KEY = 102,
    OG_TOO_LARGE = 103,      /* depth, nodes, bytes */
    OG_UNKNOWN_FIELD = 104,
    OG_WRONG_TYPE = 105,
    OG_BAD_VALUE = 106,      /* out of range, bad duration, unknown enum name */
    OG_UNKNOWN_KIND = 107,
    OG_MISSING_FIELD = 108,
    OG_ONEOF_TWICE = 109,
    OG_AMBIGUOUS_SCALAR = 110, /* yes, no, on, off, 010: warned of */
    OG_NOT_BUILT = 111,      /* a field that Outrigger does not support yet */
    OG_DEPRECATED = 112,
    OG_IGNORED = 113,        /* harmless and ignored (config/ignorable) */
    OG_DUPLICATE_OBJECT = 114,
    OG_FILE = 115,           /* cannot be read */
};

#endif
