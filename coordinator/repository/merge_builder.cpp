#include "coordinator/repository/merge_builder.h"

#include <algorithm>

namespace roamstead::repository {
namespace {

constexpr std::size_t kMostLabelBytes = 100;
constexpr std::size_t kCompareBytes = 256u << 10;

class MergeContent final : public profile::ContentSource {
 public:
  MergeContent(ProfileObjects& objects, std::map<std::size_t, std::vector<MergeSource>> sources)
      : objects_(objects), sources_(std::move(sources)) {}
  // Thread-safe.
  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override {
    const auto& source = sources_.at(record).at(stream);
    return read_content(objects_, source.content, source.size_bytes, offset, out);
  }

 private:
  ProfileObjects& objects_;
  const std::map<std::size_t, std::vector<MergeSource>> sources_;
};

std::string name_part(const std::string& label) {
  std::string part;
  for (const char c : label.substr(0, kMostLabelBytes)) {
    bool plain = static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7F &&
                 std::string_view("<>:\"/\\|?*").find(c) == std::string_view::npos;
    part += plain ? c : '_';
  }
  return part;
}

}  // namespace

MergeBuilder::MergeBuilder(ProfileObjects& objects, const std::string& label)
    : objects_(objects), label_(name_part(label)) {}

void MergeBuilder::put(profile::Put put, std::vector<MergeSource> sources) {
  if (!sources.empty()) sources_[records_.size()] = std::move(sources);
  records_.push_back(std::move(put));
}

void MergeBuilder::put_key(profile::PutKey put, std::vector<MergeSource> sources) {
  if (!sources.empty()) sources_[records_.size()] = std::move(sources);
  records_.push_back(std::move(put));
}

MergePlan MergeBuilder::finish() {
  MergePlan plan;
  plan.batch.records = std::move(records_);
  plan.content = std::make_unique<MergeContent>(objects_, std::move(sources_));
  plan.conflicts = std::move(conflicts_);
  return plan;
}

Result<bool> same_bytes(ProfileObjects& objects, const MergeSource& a, const MergeSource& b) {
  if (a.size_bytes != b.size_bytes) return false;
  if (a.content == b.content) return true;
  Bytes left, right;
  for (std::uint64_t at = 0; at < a.size_bytes; at += left.size()) {
    auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kCompareBytes, a.size_bytes - at));
    left.resize(count);
    right.resize(count);
    RS_CHECK(read_content(objects, a.content, a.size_bytes, at, left));
    RS_CHECK(read_content(objects, b.content, b.size_bytes, at, right));
    if (left != right) return false;
  }
  return true;
}

}  // namespace roamstead::repository
