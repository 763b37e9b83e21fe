// Any bytes as a provenance journal: parsed or refused, within bounds. An input that begins with an odd byte
// is taken as records (type, 16-bit length, payload) that get their checksums here, or the fuzzer would never
// come past those.
#include "common/base/crc32c.h"
#include "common/extract/provenance.h"

namespace {

using namespace roamstead;

void check(ByteView journal) {
  auto provenance = extract::Provenance::parse(journal);
  if (!provenance) return;
  if (provenance->valid_bytes() > journal.size()) __builtin_trap();
  (void)provenance->for_each([&](const extract::ItemState& item) -> Result<void> {
    if (provenance->find(item.id)->base_path != item.base_path) __builtin_trap();
    const auto by_base = provenance->find_by_base(item.base_path);
    if (by_base != nullptr && (by_base->withdrawn || by_base->base_path != item.base_path)) __builtin_trap();
    return {};
  });
}

Bytes with_checksums(ByteView input) {
  ByteWriter journal;
  journal.bytes(extract::encode_header({}));
  ByteReader reader(input);
  for (;;) {
    auto type = reader.le<std::uint8_t>();
    auto length = reader.le<std::uint16_t>();
    if (!type || !length) break;
    auto payload = reader.take(std::min<std::size_t>(*length, reader.remaining()));
    ByteWriter body;
    body.le<std::uint32_t>(static_cast<std::uint32_t>(payload->size()));
    body.le<std::uint32_t>(*type);
    body.bytes(*payload);
    journal.le<std::uint32_t>(crc32c(body.view()));
    journal.bytes(body.view());
  }
  return journal.take();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  if (size != 0 && data[0] % 2 == 1) {
    check(with_checksums(input.subspan(1)));
  } else {
    check(input);
  }
  return 0;
}
