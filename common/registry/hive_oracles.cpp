#include "common/registry/hive_oracles.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "common/registry/reg_text.h"
#include "common/registry/value_text.h"
#include "tests/support/command_output.h"

namespace roamstead::registry {
namespace {

std::string quoted(const std::string& path) { return "'" + path + "'"; }

std::string value_key(const std::string& key, const std::string& name) { return key + '\1' + name; }

std::uint64_t count_lines(const std::string& command) {
  return std::strtoull(output_of(command).c_str(), nullptr, 10);
}

class Painter final : public TreeVisitor {
 public:
  bool enter(const Key&, const std::string& path, std::uint32_t) override {
    picture[path] = "";
    return true;
  }
  void value(const Key&, const std::string& path, const Value& value, ByteView data) override {
    picture[value_key(path, value.name.to_wtf8())] = std::to_string(value.type) + ":" + hex_text(data);
  }
  TreePicture picture;
};

}  // namespace

TreePicture picture_of(const Hive& hive) {
  Painter painter;
  if (auto root = hive.root()) hive.walk(*root, painter);
  return std::move(painter.picture);
}

TreeCounts counts_of(const TreePicture& picture) {
  TreeCounts counts;
  for (const auto& [path, content] : picture) ++(content.empty() ? counts.keys : counts.values);
  return counts;
}

TreePicture reg_picture(ByteView text, const std::string& prefix) {
  TreePicture picture;
  auto changes = parse_reg(text);
  if (!changes) {
    std::cout << changes.error().to_string() << '\n';
    return picture;
  }
  for (const auto& change : *changes) {
    auto key = change.key.substr(std::min(prefix.size(), change.key.size()));
    if (key.starts_with('\\')) key.erase(0, 1);
    if (change.kind == RegChange::Kind::create_key) picture[key] = "";
    if (change.kind == RegChange::Kind::set_value)
      picture[value_key(key, change.value_name)] = std::to_string(change.type) + ":" + hex_text(change.data);
  }
  return picture;
}

TreePicture hivex_picture(const std::string& path) {
  return reg_picture(
      as_bytes(output_of("PERL_UNICODE=SO hivexregedit --export --prefix P " + quoted(path) + " '\\'")), "P");
}

TreeCounts hivexml_counts(const std::string& path) {
  const auto xml = "hivexml " + quoted(path) + " 2>/dev/null";
  return {count_lines(xml + " | grep -o '<node ' | wc -l"),
          count_lines(xml + " | grep -o '<value ' | wc -l")};
}

TreeCounts reglookup_counts(const std::string& path) {
  const auto list = "reglookup " + quoted(path) + " 2>/dev/null | tail -n +2";
  return {count_lines(list + " | grep -c '^[^,]*,KEY,'"), count_lines(list + " | grep -vc '^[^,]*,KEY,'")};
}

TreeCounts regfexport_counts(const std::string& path) {
  const auto list = "regfexport " + quoted(path) + " 2>/dev/null";
  return {count_lines(list + " | grep -ac '^Key path: '"), count_lines(list + " | grep -ac '^Value: [0-9]'")};
}

bool have_oracles() {
  for (const char* program : {"hivexml", "hivexregedit", "reglookup", "regfexport", "reged"})
    if (!support::available(program)) return false;
  return true;
}

bool same_picture(const TreePicture& a, const TreePicture& b) {
  int shown = 0;
  auto compare = [&](const TreePicture& from, const TreePicture& with, const char* which) {
    for (const auto& [path, content] : from) {
      const auto other = with.find(path);
      if (other != with.end() && other->second == content) continue;
      if (++shown <= 5)
        std::cout << which << ": " << path << " = " << content.substr(0, 80) << " / "
                  << (other == with.end() ? "missing" : other->second.substr(0, 80)) << '\n';
    }
  };
  compare(a, b, "first");
  compare(b, a, "second");
  return shown == 0;
}

std::string output_of(const std::string& command) { return support::output_of(command); }

Bytes file_bytes(const std::string& path) {
  if (path.ends_with(".xz")) return to_bytes(std::string_view(output_of("xz -dc " + quoted(path))));
  std::ifstream file(path, std::ios::binary);
  const std::string content(std::istreambuf_iterator<char>(file), {});
  return to_bytes(std::string_view(content));
}

void write_bytes(const std::string& path, ByteView bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace roamstead::registry
