// Batches for tests: files put with given content.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "common/base/sha256.h"
#include "common/profile/batch.h"

namespace roamstead::server {

inline profile::ProfilePath path_of(const std::string& text) {
  return profile::ProfilePath::parse(text).value();
}

// Puts files whole. Is its own content source.
struct SampleBatch final : profile::ContentSource {
  profile::Batch batch;
  std::vector<Bytes> contents;  // by record

  SampleBatch(const Guid& incarnation, std::uint64_t ordinal,
              const std::map<std::string, std::string>& files) {
    batch.incarnation = incarnation;
    batch.ordinal = ordinal;
    std::string all = std::to_string(ordinal);  // the same batch again is of the same layer
    for (const auto& [name, content] : files) {
      all += "\n" + name + "\n" + content;
      profile::Put put;
      put.path = path_of(name);
      put.entry.size_bytes = content.size();
      profile::StreamContent stream{"", content.size(), {}};
      if (!content.empty()) stream.writes.push_back({0, content.size()});
      put.contents.push_back(stream);
      batch.records.push_back(put);
      contents.push_back(to_bytes(content));
    }
    batch.snapshot = Guid::from(ByteView(sha256(as_bytes(all))).first(sizeof(Guid)));
  }
  Result<void> read(std::size_t record, std::size_t, std::uint64_t offset, MutableByteView out) override {
    // Zeros beyond the end: some tests claim more than there is.
    const auto& bytes = contents.at(record);
    std::fill(out.begin(), out.end(), std::byte{0});
    if (offset < bytes.size())
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                  std::min<std::size_t>(out.size(), bytes.size() - offset), out.begin());
    return {};
  }
};

}  // namespace roamstead::server
