// Any bytes as a provenance journal: parsed or refused, within bounds.
#include "common/extract/provenance.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roamstead;
  const auto journal = std::as_bytes(std::span(data, size));
  auto provenance = extract::Provenance::parse(journal);
  if (!provenance) return 0;
  if (provenance->valid_bytes() > size) __builtin_trap();
  for (const auto& [id, item] : provenance->items())
    if (provenance->find(id) != &item) __builtin_trap();
  return 0;
}
