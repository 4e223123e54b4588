/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A primary's question whether a range is the same here, answered by a backup
 * for its uncommitted view. Called by backup.c; event-loop thread only.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

bool hash_equal(const struct hash_job *h)
{
	uint8_t digest[32];

	return EVP_Digest(h->buf, h->len, digest, NULL, EVP_sha256(), NULL) == 1 && !memcmp(digest, h->digest, 32);
}

static void hash_free(struct hash_job *h)
{
	struct hash_job **p = &h->node->hash_list;

	while (*p != h)
		p = &(*p)->next;
	*p = h->next;
	h->node->hash_jobs--;
	free(h);
}

static void hash_answer(struct node *n, uint64_t session, uint64_t seq, bool equal)
{
	struct frame f = { .type = FRAME_HASHR, .off = seq, .len = equal };

	if (n->live >= 0 && n->session == session)
		link_send(n, n->live, &f, NULL, 0);
}

static void hash_read(void *owner, int error)
{
	struct hash_job *h = owner;

	hash_answer(h->node, h->session, h->seq, !error && hash_equal(h));
	hash_free(h);
}

/* The query is answered for the uncommitted view at this place in the stream. */
int hash_query(struct node *n, struct plink *l)
{
	struct frame *f = &l->frame;
	struct image *img = node_image_by_id(n, f->image);

	if (!img || f->payload_len != 32)
		return -EPROTO;
	if (n->hash_jobs >= 2 * SYNC_OPS)
		return -ENOBUFS;
	struct hash_job *h = aligned_alloc(BLOCK, sizeof(*h) + (f->len + BLOCK - 1) / BLOCK * BLOCK);

	if (!h)
		return -ENOMEM;
	*h = (struct hash_job){ .node = n, .image = img, .session = l->session, .seq = f->seq, .off = f->off,
		.len = f->len };
	memcpy(h->digest, l->payload, 32);
	h->next = n->hash_list;
	n->hash_list = h;
	n->hash_jobs++;
	if (direct_goes(img))
		direct_hash(n, h, hash_read);
	else
		view_read(n, img, !MUTANT("hash-of-committed"), f->off, f->len, h->buf, hash_read, h);
	return 0;
}

void hash_drop(struct node *n)
{
	while (n->hash_list)
		hash_free(n->hash_list);
}
