// A frame: the unit on the wire. Header of 16 bytes, little-endian, then the payload (docs/protocol.md):
//   u32 payload bytes, u8 type, u8 flags (1: compressed), u16 zero, u64 request id
// A compressed payload is u32 plain bytes, then one zstd frame. Bounded before and after decompression.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"

namespace roamstead::wire {

inline constexpr std::size_t kFrameHeaderBytes = 16;
inline constexpr std::size_t kMaxPayloadBytes = 2u << 20;  // before and after decompression
inline constexpr std::size_t kMaxHelloBytes = 4096;  // of the first frame, whose sender is not known well yet

enum class FrameType : std::uint8_t {
  hello = 1,
  hello_reply = 2,
  failure = 3,
  open = 4,
  open_reply = 5,
  list = 6,
  list_reply = 7,
  read = 8,
  read_reply = 9,
  renew = 10,
  close = 11,
  done = 12,
  batch_begin = 13,
  batch_part = 14,
  batch_abandon = 15,
  credit = 16,
  commit_reply = 17,
  keys = 18,
  keys_reply = 19,
  value = 20,
  value_reply = 21,
  push = 22,               // coordinator to desktop, unasked: request number 0
  hand_over = 23,          // answered by done
  enroll = 24,             // the only frame that is taken from who has no certificate
  renew_certificate = 25,  // for the desktop that asks
  certificate = 26,        // the answer to both
  learned = 27,            // answered by done
  fetch = 28,              // many folders and files at once
  fetch_reply = 29,
  first_boot = 30,      // answered by done
  snapshot_offer = 31,  // these six: common/wire/snapshot_link.h
  snapshot_offer_reply = 32,
  quiet = 33,
  frozen = 34,
  held = 35,
  snapshot_state = 36,
  session_use = 37,  // answered by done
};
inline constexpr FrameType kLastFrameType = FrameType::session_use;

struct FrameHeader {
  std::uint32_t payload_bytes = 0;
  FrameType type = FrameType::failure;
  bool compressed = false;
  std::uint64_t request = 0;
};

struct Frame {
  FrameType type = FrameType::failure;
  bool compressed = false;
  std::uint64_t request = 0;
  Bytes payload;  // as received
};

// if_smaller: fast, for replies that programs wait for. thorough: smaller still, for what desktops save: much
// of it is text with something random in between, and uplinks are slower than disks.
enum class Compression { no, if_smaller, thorough };

// Header and payload together, ready to be sent. The payload must not exceed kMaxPayloadBytes.
Bytes encode_frame(FrameType type, std::uint64_t request, ByteView payload,
                   Compression compression = Compression::no);

// Of exactly kFrameHeaderBytes. ErrorCode::protocol for unknown types and flags and for payloads beyond
// `limit`.
Result<FrameHeader> parse_frame_header(ByteView header, std::size_t limit = kMaxPayloadBytes);

// The plain payload. Decompresses where needed: not for a thread that must not be kept.
Result<Bytes> plain_payload(Frame frame);

}  // namespace roamstead::wire
