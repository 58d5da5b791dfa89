/* What the readers of YAML and JSON share: the node itself and how a document is built. */
#ifndef OUTRIGGER_PROTO_NODE_PRIV_H
#define OUTRIGGER_PROTO_NODE_PRIV_H

#include "proto/codec.h"

#define NODE_TEXT_MAX (64u << 20)
#define NODE_COUNT_MAX (2u << 20)
#define NODE_DEPTH_MAX CODEC_DEPTH_MAX

struct node_entry {
    struct str key;        /* maps */
    unsigned line, column; /* of the key, or of the element */
    struct node *value;
};

struct node {
    enum node_kind kind;
    unsigned line, column;
    unsigned count;
    unsigned height; /* 0: a scalar */
    uint64_t weight; /* nodes, each alias counted as often as it is used */
    const char *file;
    struct str text; /* scalars, as written (strings: unescaped) */
    struct node_entry *entries;
};

/* One text being read. */
struct node_reader {
    struct arena *arena;
    struct findings *findings;
    const char *file;
    struct buf path; /* of the node being read */
    uint64_t nodes;  /* made so far in this text */
    unsigned warned;   /* so far in this text */
    bool stop;       /* too large: what follows is not read */
    struct node **docs;
    unsigned doc_count, doc_cap;
};

/* A growing list of entries. */
struct node_entries {
    struct node_entry *v;
    unsigned count, cap;
};

/* Adds a finding at a place; an error fails the current document, OG_TOO_LARGE the rest of the
 * text. */
void node_reader_tell(struct node_reader *r, enum finding_level level, unsigned code, unsigned line,
                      unsigned column, const char *fix, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));
/* NULL, told, when the text has too many nodes. */
struct node *node_reader_new(struct node_reader *r, enum node_kind kind, unsigned line,
                             unsigned column);
/* A step in the path; returns what node_reader_leave takes. */
size_t node_reader_enter_key(struct node_reader *r, struct str key);
size_t node_reader_enter_index(struct node_reader *r, unsigned index);
void node_reader_leave(struct node_reader *r, size_t before);
void node_reader_push(struct node_reader *r, struct node_entries *list, struct node_entry entry);
/* Hands the entries to a list or map. False, told, on a key that stands twice or a tree that got
 * too heavy or deep. */
bool node_reader_close(struct node_reader *r, struct node *n, struct node_entries *list);
/* Whether a text may be a string of protobuf: no NUL in it. Tells otherwise. */
bool node_reader_text_ok(struct node_reader *r, struct str text, unsigned line, unsigned column);
void node_reader_add_document(struct node_reader *r, struct node *root);

/* The entry of a key, or NULL. */
const struct node_entry *node_find(const struct node *map, struct str key);

/* Reads all documents. False: reading stopped early, which was told. */
bool node_yaml_read(struct node_reader *r, struct str text);
/* Reads one JSON text. False, without a finding, when it is not JSON; *line_r, *column_r, *what_r
 * tell where and why. */
bool node_json_read(struct node_reader *r, struct str text, unsigned *line_r, unsigned *column_r,
                    const char **what_r);

#endif
