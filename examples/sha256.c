// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 (FIPS 180-4), HMAC-SHA-256 (RFC 2104) and PBKDF2 (RFC 8018),
// checked against the published test vectors.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SHA256_BLOCK_SIZE 64
#define SHA256_DIGEST_SIZE 32

typedef struct {
  uint32_t state[8];
  uint64_t total_bytes;
  uint8_t block[SHA256_BLOCK_SIZE];
  size_t block_used;
} Sha256;

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, unsigned n) {
  return (x >> n) | (x << (32 - n));
}

static uint32_t load_be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
         (uint32_t)p[3];
}

static void store_be32(uint8_t *p, uint32_t x) {
  p[0] = (uint8_t)(x >> 24);
  p[1] = (uint8_t)(x >> 16);
  p[2] = (uint8_t)(x >> 8);
  p[3] = (uint8_t)x;
}

static void sha256_init(Sha256 *ctx) {
  static const uint32_t initial_state[8] = {
      0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  };
  memcpy(ctx->state, initial_state, sizeof ctx->state);
  ctx->total_bytes = 0;
  ctx->block_used = 0;
}

static void sha256_compress(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64];
  for (int t = 0; t < 16; t++)
    w[t] = load_be32(block + 4 * t);
  for (int t = 16; t < 64; t++) {
    uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^
                  (w[t - 15] >> 3);
    uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^
                  (w[t - 2] >> 10);
    w[t] = w[t - 16] + s0 + w[t - 7] + s1;
  }

  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int t = 0; t < 64; t++) {
    uint32_t sum1 =
        rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
    uint32_t choose = (e & f) ^ (~e & g);
    uint32_t t1 = h + sum1 + choose + round_constants[t] + w[t];
    uint32_t sum0 =
        rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
    uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    uint32_t t2 = sum0 + majority;
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

static void sha256_update(Sha256 *ctx, const void *data, size_t size) {
  const uint8_t *bytes = data;
  ctx->total_bytes += size;

  if (ctx->block_used > 0) {
    size_t wanted = SHA256_BLOCK_SIZE - ctx->block_used;
    size_t taken = size < wanted ? size : wanted;
    memcpy(ctx->block + ctx->block_used, bytes, taken);
    ctx->block_used += taken;
    bytes += taken;
    size -= taken;
    if (ctx->block_used < SHA256_BLOCK_SIZE)
      return;
    sha256_compress(ctx->state, ctx->block);
    ctx->block_used = 0;
  }
  while (size >= SHA256_BLOCK_SIZE) {
    sha256_compress(ctx->state, bytes);
    bytes += SHA256_BLOCK_SIZE;
    size -= SHA256_BLOCK_SIZE;
  }
  memcpy(ctx->block, bytes, size);
  ctx->block_used = size;
}

static void sha256_final(Sha256 *ctx, uint8_t digest[SHA256_DIGEST_SIZE]) {
  static const uint8_t padding[SHA256_BLOCK_SIZE] = {0x80};
  uint64_t total_bits = ctx->total_bytes * 8;
  size_t padding_size =
      ctx->block_used < 56 ? 56 - ctx->block_used : 120 - ctx->block_used;
  uint8_t length[8];
  store_be32(length, (uint32_t)(total_bits >> 32));
  store_be32(length + 4, (uint32_t)total_bits);

  sha256_update(ctx, padding, padding_size);
  sha256_update(ctx, length, sizeof length);
  for (int i = 0; i < 8; i++)
    store_be32(digest + 4 * i, ctx->state[i]);
}

static void sha256(const void *data, size_t size,
                   uint8_t digest[SHA256_DIGEST_SIZE]) {
  Sha256 ctx;
  sha256_init(&ctx);
  sha256_update(&ctx, data, size);
  sha256_final(&ctx, digest);
}

// Both key pads are absorbed once, so that PBKDF2 pays two compressions per
// iteration instead of four.
typedef struct {
  Sha256 inner;
  Sha256 outer;
} HmacKey;

static void hmac_set_key(HmacKey *key, const void *secret, size_t size) {
  uint8_t padded[SHA256_BLOCK_SIZE] = {0};
  if (size > sizeof padded)
    sha256(secret, size, padded);
  else
    memcpy(padded, secret, size);

  for (size_t i = 0; i < sizeof padded; i++)
    padded[i] ^= 0x36;
  sha256_init(&key->inner);
  sha256_update(&key->inner, padded, sizeof padded);

  for (size_t i = 0; i < sizeof padded; i++)
    padded[i] ^= 0x36 ^ 0x5c;
  sha256_init(&key->outer);
  sha256_update(&key->outer, padded, sizeof padded);
}

static void hmac_finish(const HmacKey *key, Sha256 *inner,
                        uint8_t mac[SHA256_DIGEST_SIZE]) {
  Sha256 outer = key->outer;
  sha256_final(inner, mac);
  sha256_update(&outer, mac, SHA256_DIGEST_SIZE);
  sha256_final(&outer, mac);
}

static void hmac_sha256(const HmacKey *key, const void *data, size_t size,
                        uint8_t mac[SHA256_DIGEST_SIZE]) {
  Sha256 inner = key->inner;
  sha256_update(&inner, data, size);
  hmac_finish(key, &inner, mac);
}

static void pbkdf2_sha256(const char *password, const char *salt,
                          unsigned iterations, uint8_t *out, size_t out_size) {
  HmacKey key;
  hmac_set_key(&key, password, strlen(password));

  for (uint32_t block_number = 1; out_size > 0; block_number++) {
    uint8_t encoded_number[4];
    uint8_t u[SHA256_DIGEST_SIZE], sum[SHA256_DIGEST_SIZE];
    store_be32(encoded_number, block_number);
    Sha256 inner = key.inner;
    sha256_update(&inner, salt, strlen(salt));
    sha256_update(&inner, encoded_number, sizeof encoded_number);
    hmac_finish(&key, &inner, u);

    memcpy(sum, u, sizeof sum);
    for (unsigned i = 1; i < iterations; i++) {
      hmac_sha256(&key, u, sizeof u, u);
      for (size_t j = 0; j < sizeof sum; j++)
        sum[j] ^= u[j];
    }

    size_t taken = out_size < sizeof sum ? out_size : sizeof sum;
    memcpy(out, sum, taken);
    out += taken;
    out_size -= taken;
  }
}

// Takes the same time wherever the first difference lies.
static bool equal_digests(const uint8_t *a, const uint8_t *b, size_t size) {
  uint8_t difference = 0;
  for (size_t i = 0; i < size; i++)
    difference |= a[i] ^ b[i];
  return difference == 0;
}

static int hex_digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static unsigned failures;

static void check(const char *label, const uint8_t *actual, size_t size,
                  const char *expected_hex) {
  uint8_t expected[64];
  for (size_t i = 0; i < size; i++)
    expected[i] = (uint8_t)(hex_digit(expected_hex[2 * i]) * 16 +
                            hex_digit(expected_hex[2 * i + 1]));
  bool same = equal_digests(actual, expected, size);
  failures += !same;

  printf("%-24s ", label);
  for (size_t i = 0; i < size; i++)
    printf("%02x", actual[i]);
  puts(same ? " ok" : " WRONG");
}

static void check_hashes(void) {
  static const struct {
    const char *label;
    const char *message;
    const char *digest;
  } vectors[] = {
      {"sha256 empty", "",
       "e3b0c44298fc1c149afbf4c8996fb924"
       "27ae41e4649b934ca495991b7852b855"},
      {"sha256 abc", "abc",
       "ba7816bf8f01cfea414140de5dae2223"
       "b00361a396177a9cb410ff61f20015ad"},
      {"sha256 448 bits",
       "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039"
       "a33ce45964ff2167f6ecedd419db06c1"},
      {"sha256 896 bits",
       "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
       "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
       "cf5b16a778af8380036ce59e7b049237"
       "0b249b11e8f07a51afac45037afee9d1"},
  };
  uint8_t digest[SHA256_DIGEST_SIZE];
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
    sha256(vectors[i].message, strlen(vectors[i].message), digest);
    check(vectors[i].label, digest, sizeof digest, vectors[i].digest);
  }

  // Odd chunk sizes cross the block boundary at every offset.
  Sha256 ctx;
  uint8_t chunk[97];
  size_t remaining = 1000000;
  memset(chunk, 'a', sizeof chunk);
  sha256_init(&ctx);
  for (size_t size = 1; remaining > 0; size = size % sizeof chunk + 1) {
    size_t taken = size < remaining ? size : remaining;
    sha256_update(&ctx, chunk, taken);
    remaining -= taken;
  }
  sha256_final(&ctx, digest);
  check("sha256 million a", digest, sizeof digest,
        "cdc76e5c9914fb9281a1c7e284d73e67"
        "f1809a48a497200e046d39ccc7112cd0");
}

static void check_macs(void) {
  uint8_t ascending[25], repeated_aa[131], repeated_cd[50], repeated_dd[50];
  for (size_t i = 0; i < sizeof ascending; i++)
    ascending[i] = (uint8_t)(i + 1);
  memset(repeated_aa, 0xaa, sizeof repeated_aa);
  memset(repeated_cd, 0xcd, sizeof repeated_cd);
  memset(repeated_dd, 0xdd, sizeof repeated_dd);
  static const char first_key[] = "\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b"
                                  "\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b";
  static const char question[] = "what do ya want for nothing?";
  static const char long_key_data[] =
      "Test Using Larger Than Block-Size Key - Hash Key First";

  const struct {
    const char *label;
    const void *key;
    size_t key_size;
    const void *data;
    size_t data_size;
    const char *mac;
  } vectors[] = {
      {"hmac rfc4231 case 1", first_key, 20, "Hi There", 8,
       "b0344c61d8db38535ca8afceaf0bf12b"
       "881dc200c9833da726e9376c2e32cff7"},
      {"hmac rfc4231 case 2", "Jefe", 4, question, sizeof question - 1,
       "5bdcc146bf60754e6a042426089575c7"
       "5a003f089d2739839dec58b964ec3843"},
      {"hmac rfc4231 case 3", repeated_aa, 20, repeated_dd, 50,
       "773ea91e36800e46854db8ebd09181a7"
       "2959098b3ef8c122d9635514ced565fe"},
      {"hmac rfc4231 case 4", ascending, sizeof ascending, repeated_cd, 50,
       "82558a389a443c0ea4cc819899f2083a"
       "85f0faa3e578f8077a2e3ff46729665b"},
      {"hmac rfc4231 case 6", repeated_aa, sizeof repeated_aa, long_key_data,
       sizeof long_key_data - 1,
       "60e431591ee0b67f0d8a26aacbf5b77f"
       "8e0bc6213728c5140546040f0ee37f54"},
  };

  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
    HmacKey key;
    uint8_t mac[SHA256_DIGEST_SIZE];
    hmac_set_key(&key, vectors[i].key, vectors[i].key_size);
    hmac_sha256(&key, vectors[i].data, vectors[i].data_size, mac);
    check(vectors[i].label, mac, sizeof mac, vectors[i].mac);
  }
}

static void check_key_derivation(void) {
  uint8_t derived[40];
  pbkdf2_sha256("password", "salt", 1, derived, 32);
  check("pbkdf2 1 iteration", derived, 32,
        "120fb6cffcf8b32c43e7225256c4f837"
        "a86548c92ccc35480805987cb70be17b");
  pbkdf2_sha256("password", "salt", 2, derived, 32);
  check("pbkdf2 2 iterations", derived, 32,
        "ae4d0c95af6b46d32d0adff928f06dd0"
        "2a303f8ef3c251dfd6e2d85a95474c43");
  pbkdf2_sha256("passwordPASSWORDpassword",
                "saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, derived, 40);
  check("pbkdf2 4096 iterations", derived, 40,
        "348c89dbcbd32b2f32d814b8116e84cf2b17347e"
        "bc1800181c4e2a1fb8dd53e1c635518c7dac47e9");
}

int main(void) {
  check_hashes();
  check_macs();
  check_key_derivation();
  printf("%u failures\n", failures);
  return failures == 0 ? 0 : 1;
}
