#include <unordered_set>

#include "common/base/text.h"
#include "common/registry/hive.h"
#include "coordinator/repository/hive_file.h"

namespace roamstead::repository {
namespace {

using profile::KeyPath;
using registry::Hive;
using registry::Key;
using registry::Value;

constexpr std::size_t kMaxHeldBack = 100;  // of one hive; more are counted
// Paths of real hives take a fraction of the file. Long names nested deep, with many keys below them, would
// take thousands of times as much.
constexpr std::uint64_t kPathBytesPerFileByte = 16;
constexpr std::size_t kMaxShownPath = 200;

class Reader final : public registry::TreeVisitor {
 public:
  Reader(const profile::ProfilePath& hive_path, const Hive& hive)
      : hive_path_(hive_path),
        hive_(hive),
        path_bytes_left_(kPathBytesPerFileByte * (hive.bins().size() + registry::kBaseBlockBytes)) {}

  bool enter(const Key& key, const std::string& path, std::uint32_t depth) override {
    // A name may hold a '\' in a hostile hive, where the path alone would not show it.
    if (depth != 0) {
      if (auto valid = profile::check_key_name(key.name.to_wtf8()); !valid)
        return hold_back(path, valid.error().message);
    }
    if (path.size() > path_bytes_left_)
      return hold_back(path.substr(0, kMaxShownPath) + "…", "keys of too many too long paths");
    path_bytes_left_ -= path.size();
    auto parsed = KeyPath::parse(path);
    if (!parsed) return hold_back(path, parsed.error().message);
    if (profile::is_excluded_key(hive_path_, *parsed)) return false;
    if (!keys_seen_.insert(profile::upcased(*parsed)).second)
      return hold_back(path, "differs from another key in case alone");
    profile::PutKey put;
    put.hive = hive_path_;
    put.key = std::move(*parsed);
    put.entry.written_100ns = key.written_100ns;
    read_part(path, "security descriptor", hive_.security(key), profile::kMaxKeySecurityBytes,
              put.entry.security);
    read_part(path, "class", hive_.class_name(key), profile::kMaxClassBytes, put.entry.class_name);
    records_.keys.push_back(std::move(put));
    values_seen_.clear();
    return true;
  }

  // Follows its key: a key's values come before its subkeys.
  void value(const Key&, const std::string& path, const Value& value, ByteView data) override {
    auto name = value.name.to_wtf8();
    if (auto valid = profile::check_value_name(name); !valid) {
      hold_back(path, valid.error().message);
      return;
    }
    if (!values_seen_.insert(to_wtf8(upcase_key(name))).second) {
      hold_back(path, "its value '" + name + "' differs from another in case alone");
      return;
    }
    auto& put = records_.keys.back();
    profile::RegistryValue made{std::move(name), value.type, data.size(), {}};
    if (made.is_inline())
      made.data = to_bytes(data);
    else
      records_.data[{records_.keys.size() - 1, put.values.size()}] = to_bytes(data);
    put.values.push_back(std::move(made));
    ++records_.values;
    records_.data_bytes += data.size();
  }

  void defect(registry::Defect defect) override { hold_back(defect.path, defect.to_string()); }

  HiveRecords take() && {
    if (suppressed_ != 0)
      records_.held_back.push_back({hive_path_.text(), std::to_string(suppressed_) + " more defects"});
    return std::move(records_);
  }

 private:
  bool hold_back(const std::string& key, const std::string& why) {
    if (records_.held_back.size() < kMaxHeldBack)
      records_.held_back.push_back({hive_path_.text() + "\\" + key, why});
    else
      ++suppressed_;
    return false;
  }

  void read_part(const std::string& path, const std::string& what, const Result<ByteView>& found,
                 std::size_t most_bytes, Bytes& target) {
    if (!found)
      hold_back(path, "its " + what + ": " + found.error().to_string());
    else if (found->size() > most_bytes)
      hold_back(path, "its " + what + " of " + std::to_string(found->size()) + " bytes");
    else
      target = to_bytes(*found);
  }

  const profile::ProfilePath& hive_path_;
  const Hive& hive_;
  HiveRecords records_;
  std::unordered_set<std::string> keys_seen_;    // upcased paths
  std::unordered_set<std::string> values_seen_;  // upcased names in the key met last
  std::uint64_t path_bytes_left_;
  std::size_t suppressed_ = 0;
};

}  // namespace

Result<HiveRecords> read_hive_file(const profile::ProfilePath& hive, ByteView primary,
                                   std::span<const registry::LogFile> logs) {
  RS_TRY(const auto recovery, registry::recover(primary, hive.text(), logs));
  const auto file = recovery.report.was_dirty ? ByteView(recovery.file) : primary;
  RS_TRY(const auto opened, Hive::open(file, hive.text()));
  RS_TRY(const auto root, opened.root());
  Reader reader(hive, opened);
  for (const auto& defect : opened.defects()) reader.defect(defect);
  opened.walk(root, reader);
  return std::move(reader).take();
}

}  // namespace roamstead::repository
