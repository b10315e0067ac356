// SPDX-License-Identifier: Apache-2.0
//
// Frames on a serial line: a CRC shows what was damaged on the way, and COBS
// takes the zeros out of what is sent, so that a zero ends a frame and nothing
// else does.

#include "node.h"

// CRC-16/CCITT-FALSE, four bits at a time.
uint16_t crc16(const uint8_t *bytes, size_t count) {
  static const uint16_t table[16] = {
      0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
      0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
  uint16_t crc = 0xffff;
  for (size_t i = 0; i < count; i++) {
    crc = (uint16_t)(crc << 4 ^ table[(crc >> 12 ^ bytes[i] >> 4) & 15]);
    crc = (uint16_t)(crc << 4 ^ table[(crc >> 12 ^ bytes[i]) & 15]);
  }
  return crc;
}

// Every block is a length and as many bytes less one; a zero is where a block
// ends, unless it has the greatest length.
size_t cobs_encode(const uint8_t *bytes, size_t count, uint8_t *out) {
  size_t length_at = 0, written = 1;
  for (size_t i = 0; i < count; i++) {
    if (bytes[i] != 0)
      out[written++] = bytes[i];
    if (bytes[i] == 0 || written - length_at == 255) {
      out[length_at] = (uint8_t)(written - length_at);
      length_at = written++;
    }
  }
  out[length_at] = (uint8_t)(written - length_at);
  return written;
}

int cobs_decode(const uint8_t *bytes, size_t count, uint8_t *out) {
  int written = 0;
  for (size_t i = 0; i < count;) {
    size_t length = bytes[i++];
    if (length == 0 || length - 1 > count - i)
      return -1;
    for (size_t end = i + length - 1; i < end; i++) {
      if (bytes[i] == 0)
        return -1;
      out[written++] = bytes[i];
    }
    if (length < 255 && i < count)
      out[written++] = 0;
  }
  return written;
}

size_t frame_encode(const uint8_t *payload, size_t count, uint8_t *out) {
  uint8_t plain[FRAME_PAYLOAD + 2];
  uint16_t crc = crc16(payload, count);
  memcpy(plain, payload, count);
  plain[count] = (uint8_t)(crc >> 8);
  plain[count + 1] = (uint8_t)crc;
  size_t length = cobs_encode(plain, count + 2, out);
  out[length] = 0;
  return length + 1;
}

int frame_receive(struct receiver *receiver, uint8_t byte) {
  if (byte != 0) {
    // What is too long keeps a length that no frame has.
    if (receiver->count < FRAME_SIZE)
      receiver->bytes[receiver->count++] = byte;
    return -1;
  }
  int length = -1;
  if (receiver->count < FRAME_SIZE)
    length = cobs_decode(receiver->bytes, receiver->count, receiver->payload);
  receiver->count = 0;
  // With its own CRC behind it, the CRC of anything is zero.
  if (length < 2 || crc16(receiver->payload, (size_t)length) != 0) {
    receiver->damaged++;
    return -1;
  }
  receiver->good++;
  return length - 2;
}
