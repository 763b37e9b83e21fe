// What a repository parses from shared storage. The first byte says as what the rest is parsed; checksums are
// put right first, or the fuzzer would never get past them.
#include <cstdlib>

#include "common/base/crc32c.h"
#include "coordinator/repository/commit_record.h"
#include "coordinator/repository/hive_place.h"
#include "coordinator/repository/hive_record.h"
#include "coordinator/repository/node.h"
#include "coordinator/repository/pack.h"
#include "coordinator/repository/page.h"

using namespace roamstead;
using namespace roamstead::repository;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// Whatever is accepted means one thing only: encoding it again gives the same bytes.
void page(const Bytes& input, KeyOrder order) {
  auto parsed = Page::parse(std::make_shared<const Bytes>(input), order);
  if (!parsed) return;
  require(encode_page(order, (*parsed)->level(), (*parsed)->entries()) == input);
  for (const auto& entry : (*parsed)->entries())
    require((*parsed)->upper_bound(entry.key) == (*parsed)->lower_bound(entry.key) + 1);
}

void node(const Bytes& input) {
  auto parsed = parse_node(input);
  if (parsed) require(encode_node(*parsed) == input);
}

void hive(const Bytes& input) {
  if (auto key = parse_key_record(input)) require(encode_record(*key) == input);
  if (auto value = parse_value_record(input)) require(encode_record(*value) == input);
  auto place = parse_place(as_text(input));
  if (place) require(as_text(input).starts_with(place->record));
}

Bytes with_checksum(Bytes input, std::size_t size) {
  input.resize(size);
  store_le(input, size - 4, crc32c(ByteView(input).first(size - 4)));
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  auto input = to_bytes(std::as_bytes(std::span(data + 1, size - 1)));
  switch (data[0] % 8) {
    case 0:
      page(input, KeyOrder::names);
      break;
    case 1:
      page(input, KeyOrder::offsets);
      break;
    case 5:
      page(input, KeyOrder::bytes);
      break;
    case 6:
      hive(input);
      break;
    case 2:
      node(input);
      break;
    case 3: {
      auto parsed = parse_commit_record(input);
      if (parsed) require(parse_commit_record(encode_commit_record(*parsed)).has_value());
      break;
    }
    case 4:
      (void)parse_pack_header(with_checksum(std::move(input), kPackHeaderBytes));
      break;
    default: {
      auto header = parse_record_header(with_checksum(std::move(input), kRecordHeaderBytes));
      if (header) require(header->content_bytes <= kMaxObjectBytes);
    }
  }
  return 0;
}
