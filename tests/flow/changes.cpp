#include "tests/flow/changes.h"

#include <algorithm>

namespace roamstead::flow {

std::string Changes::any_file(const std::string& below) {
  std::vector<std::string> paths;
  for (auto& [path, item] : model_.items())
    if (!item.directory && path.starts_with(below)) paths.push_back(path);
  return paths.at(random_() % paths.size());
}

Result<void> Changes::make_file(const std::string& path, Bytes content) {
  RS_CHECK(files_.make_file(path));
  model_.add_file(path, {}, {}).changed = true;
  return write(path, "", 0, content);
}

Result<void> Changes::make_directory(const std::string& path) {
  RS_CHECK(files_.make_directory(path));
  model_.add_directory(path, {}).changed = true;
  return {};
}

Result<void> Changes::write(const std::string& path, const std::string& stream, std::uint64_t offset,
                            ByteView data) {
  RS_CHECK(files_.write(path, stream, offset, data));
  model_.write(path, stream, offset, data);
  return {};
}

Result<void> Changes::truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) {
  RS_CHECK(files_.truncate(path, stream, size_bytes));
  model_.truncate(path, stream, size_bytes);
  return {};
}

Result<void> Changes::rename(const std::string& from, const std::string& to) {
  RS_CHECK(files_.rename(from, to));
  model_.rename(from, to);
  return {};
}

Result<void> Changes::remove(const std::string& path) {
  RS_CHECK(files_.remove(path));
  model_.remove(path);
  return {};
}

Result<void> Changes::remove_tree(const std::string& path) {
  RS_TRY(const auto items, files_.list(path));
  for (auto& item : items) {
    const auto child = path + "/" + item.name;
    RS_CHECK(item.info.directory ? remove_tree(child) : remove(child));
  }
  return remove(path);
}

Result<std::size_t> Changes::read_some(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto path = any_file("");
    for (auto& [stream, expected] : model_.at(path).streams) {
      RS_TRY(const auto content, files_.read_all(path, stream));
      if (content != expected)
        return fail(ErrorCode::corrupt,
                    path + ":" + stream + ": what was read is not what the profile holds");
    }
  }
  return count;
}

Result<void> Changes::work() {
  for (int page = 0; page < 6; ++page)
    RS_CHECK(write(kDatabase, "", (random_() % 90) * 4096 + random_() % 3000,
                   random_bytes(1 + random_() % 900, random_)));
  RS_CHECK(write(kMailStore, "", 700'000 + random_() % 1000, random_bytes(10'000, random_)));
  for (int i = 0; i < 5; ++i) {
    const auto log = any_file("AppData/Local");
    RS_CHECK(write(log, "", model_.at(log).streams[""].size(), random_text(200, random_)));
    const auto settings = any_file("AppData/Roaming");
    RS_CHECK(truncate(settings, "", 0));
    RS_CHECK(write(settings, "", 0, random_text(1 + random_() % 5000, random_)));
  }
  const auto folder = "Documents/Новая папка " + std::to_string(++made_);
  RS_CHECK(make_directory(folder));
  RS_CHECK(make_directory(folder + "/內 部"));
  for (int i = 0; i < 8; ++i)
    RS_CHECK(make_file(folder + "/內 部/Größe 𝒳 " + std::to_string(i) + ".dat",
                       random_bytes(random_() % 40'000, random_)));
  RS_CHECK(make_file(folder + "/empty", {}));
  return {};
}

Result<void> Changes::reorganise() {
  for (int i = 0; i < 6; ++i)
    RS_CHECK(remove(any_file("AppData/Local/Contoso/Browser/User Data/Default/Cache")));
  for (int i = 0; i < 3; ++i) {
    const auto a = any_file("Documents"), b = any_file("AppData/Roaming");
    RS_CHECK(files_.exchange(a, b));
    model_.exchange(a, b);
  }
  const auto moved = "Desktop/Archiv ä " + std::to_string(++made_);
  const std::string archive =
      model_.has(kArchive) ? kArchive : "Desktop/Archiv ä " + std::to_string(made_ - 2);
  if (model_.has(archive)) {
    RS_CHECK(rename(archive, moved));
    const auto inside = any_file(moved);
    RS_CHECK(write(inside, "", 10, random_bytes(100, random_)));
    RS_CHECK(rename(any_file(moved), "Documents/taken out " + std::to_string(made_)));
  }
  for (int i = 0; i < 4; ++i) {  // how careful programs save
    const auto document = any_file("Documents");
    const auto temporary = document + "~tmp";
    RS_CHECK(make_file(temporary, random_bytes(3000 + random_() % 9000, random_)));
    model_.remove(document);
    RS_CHECK(rename(temporary, document));
  }
  if (model_.has("AppData/Local/level 0")) RS_CHECK(remove_tree("AppData/Local/level 0"));
  return {};
}

Result<void> Changes::tinker() {
  for (int i = 0; i < 4; ++i) {
    const auto path = any_file("");
    const auto stream = "Notiz " + std::to_string(++made_) + " メモ";
    RS_CHECK(files_.make_stream(path, stream));
    RS_CHECK(write(path, stream, 0, random_bytes(random_() % 20'000, random_)));
  }
  for (auto& [path, item] : model_.items()) {  // one base stream changed, one removed
    if (!item.streams.contains("Zone.Identifier") || item.streams.size() < 2) continue;
    RS_CHECK(write(path, "Zone.Identifier", 4, as_bytes("changed")));
    break;
  }
  for (auto& [path, item] : model_.items()) {
    if (!item.streams.contains("Vorschau 画像")) continue;
    RS_CHECK(files_.remove_stream(path, "Vorschau 画像"));
    item.streams.erase("Vorschau 画像");
    item.changed = true;
    break;
  }
  const auto times = any_file("");
  RS_CHECK(files_.set_times(times, {133'111'111'111'111'111, 133'222'222'222'222'222}));
  model_.at(times).changed = true;
  const auto attributes = any_file("");
  RS_CHECK(files_.set_attributes(attributes, profile::kAttributeHidden | profile::kAttributeReadOnly));
  model_.at(attributes).changed = true;
  const auto shrunk = any_file("Documents");
  RS_CHECK(truncate(shrunk, "", model_.at(shrunk).streams[""].size() / 3));
  RS_CHECK(truncate(shrunk, "", model_.at(shrunk).streams[""].size() * 4 + 10'000));
  const auto grown = any_file("Documents");
  RS_CHECK(write(grown, "", model_.at(grown).streams[""].size() + 200'000, random_bytes(500, random_)));
  return {};
}

}  // namespace roamstead::flow
