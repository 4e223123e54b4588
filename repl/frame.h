/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The wire format: a fixed header of 88 bytes, little-endian, then a payload.
 * Untrusted input is checked here, once: after frame_decode() types are
 * known, lengths are within their limits and ranges do not overflow.
 */
#ifndef COLOFS_REPL_FRAME_H
#define COLOFS_REPL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env.h"
#include "state.h"

#define FRAME_MAGIC 0x53464f4cu /* "LOFS" */
#define FRAME_HEADER 88u        /* bytes */
#define FRAME_DATA_MAX 65536u   /* payload of one DATA frame */
#define OWN_MAX 4080u           /* payload of one OWN frame: 255 ranges */
#define PROTO_MIN 2 /* 1 knew no parts: its backup would take one for an epoch */
#define PROTO_MAX 2
#define IMAGE_ID_MIN 16u           /* ids are inode numbers too; those below are the mount's own */
#define IMAGE_ID_MAX ((1ull << 62) - 1)
#define HELLO_MAX (IMAGES_MAX * 300 + 4096) /* bytes of a HELLO's payload */

enum frame_type {
	FRAME_HELLO = 1, /* both ways, first */
	FRAME_WELCOME,   /* primary -> backup: session, pair, lineage */
	FRAME_READY,     /* backup -> primary: off: data bytes the journal can hold */
	FRAME_REFUSE,    /* either: off: an enum refusal; the sender closes */
	FRAME_PING,      /* off: sender's clock, us; len: overlay bytes (backup) */
	FRAME_PONG,      /* off: the ping's off */
	FRAME_CREDIT,    /* backup -> primary: off: total credit granted in this session, bytes */
	FRAME_DATA,      /* image, off, payload */
	FRAME_ZERO,      /* image, off, len; flag KEEP: never extends */
	FRAME_SIZE,      /* image, len: the new size */
	FRAME_CREATE,    /* image, payload: name. A new, empty image */
	FRAME_UNLINK,    /* image */
	FRAME_RENAME,    /* image, payload: new name */
	FRAME_IMAGE,     /* sync: image, len: size, payload: name; begins an image never consistent before */
	FRAME_HASHQ,     /* sync: image, off, len, payload: SHA-256 of the primary's bytes; seq echoed */
	FRAME_HASHR,     /* off: the query's seq; len: 1 equal, 0 not */
	FRAME_COMMIT,    /* epoch; off: first seq; len: count; image: chain; payload: name, then generation */
	FRAME_DONE,      /* epoch */
	FRAME_REFUSED,   /* epoch; off: errno (ENOSPC, EIO, EBUSY); the epoch's frames are thrown away */
	FRAME_FENCE,     /* backup -> primary: I take over by force; serve no more */
	FRAME_FENCED,    /* primary -> backup: so be it */
	FRAME_BYE,       /* either: leaving in order */
	FRAME_PREPARE,   /* as COMMIT, but the epoch is kept ready, not taken */
	FRAME_PREPARED,  /* epoch */
	FRAME_SETTLE,    /* epoch: the prepared one; off: 1 take it, 0 drop it */
	FRAME_ABORTED,   /* epoch: it is dropped; DONE says that it was taken */
	FRAME_PROMOTE,   /* primary -> backup, which it is no more: be the primary, from this epoch on */
	FRAME_OWN,       /* backup -> primary, before READY: image, payload: ranges that it wrote as an ex-primary; own.c */
	FRAME_TYPE_END,
};

/* WANTED: in a backup's PING, a checkpoint is. PART: in a COMMIT, see part.c */
enum { FRAME_F_KEEP = 1, FRAME_F_WANTED = 2, FRAME_F_PART = 4 };

struct frame {
	uint8_t type, flags;
	uint32_t payload_len; /* bytes */
	uint64_t session, epoch, seq;
	uint64_t image, off, len;
	uint64_t sum;         /* of the payload */
};

enum refusal {
	REFUSE_VERSION = 1, REFUSE_SELF, REFUSE_PAIR, REFUSE_STALE, REFUSE_NEWER, REFUSE_SPLIT, REFUSE_ROLES, REFUSE_NOT_EMPTY,
	REFUSE_DUPLICATE, REFUSE_BUSY, REFUSE_LOST, REFUSE_DISCONNECTED, REFUSE_INTERNAL, REFUSE_NOSPACE,
	REFUSE_DEVICE_SIZE, REFUSE_DEVICE, REFUSE_BACKUPS,
	REFUSAL_END,
};
/* A sentence, from the point of view of the node that is refused; fixed vocabulary. */
const char *refusal_text(unsigned refusal);

/* Write the header (FRAME_HEADER bytes). */
void frame_encode(uint8_t *buf, const struct frame *f);
/* 0; -EPROTO with a reason in *why (static) when nothing that a sound peer sends. */
int frame_decode(struct frame *f, const uint8_t *buf, const char **why);
/* What a frame takes of the credit: bytes. Both ends count the same. */
uint64_t frame_cost(const struct frame *f);
/* Whether frames of this type carry a sequence number and belong to an epoch. */
bool frame_numbered(unsigned type);
const char *frame_name(unsigned type);

/* A peer's image name: 1-255 bytes of UTF-8, no '/', no leading dot, no NUL or control. */
bool name_valid(const char *name, size_t len);

struct hello_image {
	uint64_t id, size;
	bool consistent;
	char name[256];
};

struct hello {
	uint16_t proto_min, proto_max;
	uint8_t node[16], pair[16];
	bool have_pair, overwrite, has_images, devices; /* devices: images, or what may become one, that are block devices */
	uint8_t rejoin;       /* enum rejoin */
	bool own;             /* and where it differs from each epoch behind own_epoch that it knows is said before READY */
	uint64_t own_epoch;
	uint64_t kept_session; /* backup: the epoch that its end left unfinished is kept, names and sizes are not in it; 0 none */
	int role;
	struct lineage lineage;
	uint64_t committed, prepared, epoch_high, session_high; /* prepared: 0 none */
	uint32_t image_count;
	struct hello_image *images; /* malloc'ed */
};
int hello_encode(const struct hello *h, uint8_t *buf, size_t size); /* length or -EMSGSIZE */
int hello_decode(struct hello *h, const uint8_t *buf, size_t len);  /* 0, -EPROTO, -ENOMEM */
void hello_free(struct hello *h);

struct welcome {
	uint8_t pair[16];
	bool first_contact;
	bool keep;             /* what the backup kept is part of the session's first epoch: all that it may lack is compared */
	uint64_t epoch;        /* the session's first */
	struct lineage lineage;
};
int welcome_encode(const struct welcome *w, uint8_t *buf, size_t size);
int welcome_decode(struct welcome *w, const uint8_t *buf, size_t len);

#endif
