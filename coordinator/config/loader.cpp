#include "coordinator/config/loader.h"

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "coordinator/config/ascii_toml.h"
#include "coordinator/config/key_table.h"
#include "coordinator/config/toml.h"

namespace roamstead::config {
namespace {

constexpr std::uint64_t kMostBytesOfFile = 1u << 20;
constexpr const char* kCommandLine = "command line";

std::string_view found_type(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a section";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a fraction";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

// Reads one file into a configuration, and notes what is wrong with it.
class FileReader {
 public:
  FileReader(Loaded& into, std::string file, std::vector<std::string>& problems)
      : loaded_(into), file_(std::move(file)), problems_(problems) {}

  void read(std::string_view text) {
    const auto ascii = ascii_toml(text, file_);
    if (!ascii) {
      problems_.push_back(ascii.error().message);
      return;
    }
    auto parsed = toml::parse(*ascii, file_);
    if (!parsed) {
      note(parsed.error().source(), std::string(parsed.error().description()));
      return;
    }
    visit(parsed.table(), "");
  }

 private:
  void note(const toml::source_region& where, const std::string& what) {
    problems_.push_back(Origin{file_, where.begin.line}.to_string() + ": " + what);
  }

  void visit(const toml::table& table, const std::string& prefix) {
    for (const auto& [key, node] : table) {
      auto name = prefix.empty() ? std::string(key.str()) : prefix + "." + std::string(key.str());
      if (const auto* known = find_key(name)) {
        take(*known, key, node);
      } else if (is_section(name) && node.is_table()) {
        visit(*node.as_table(), name);
      } else if (is_section(name)) {
        note(key.source(), "'" + name + "' is a section: write [" + name + "] and its keys below");
      } else {
        note_unknown(name, key, node);
      }
    }
  }

  void take(const Key& known, const toml::key& key, const toml::node& node) {
    auto set = set_from_node(known, node);
    if (!set) {
      note(key.source(), std::string(known.name) + ": " + set.error().to_string());
      return;
    }
    loaded_.origins[std::string(known.name)] = {file_, key.source().begin.line};
  }

  Result<void> set_from_node(const Key& known, const toml::node& node) {
    auto wrong_type = [&](const toml::node& found) {
      return fail(ErrorCode::invalid_argument,
                  "expected " + expectation(known) + ", found " + std::string(found_type(found)));
    };
    if (const auto* texts = std::get_if<TextsKind>(&known.kind)) {
      if (!node.is_array()) return wrong_type(node);
      std::vector<std::string> list;
      for (const auto& each : *node.as_array()) {
        if (!each.is_string()) return wrong_type(each);
        list.push_back(each.as_string()->get());
      }
      return set_texts(loaded_.config, *texts, std::move(list));
    }
    if (const auto* count = std::get_if<CountKind>(&known.kind)) {
      if (!node.is_integer()) return wrong_type(node);
      auto value = node.as_integer()->get();
      if (value < 0)
        return fail(ErrorCode::invalid_argument,
                    std::to_string(value) + " is out of range: expected " + expectation(known));
      return set_count(loaded_.config, *count, static_cast<std::uint64_t>(value));
    }
    if (!node.is_string()) return wrong_type(node);
    return set_text(loaded_.config, known, node.as_string()->get());
  }

  static bool is_section(const std::string& name) {
    for (const auto& key : keys())
      if (key.name.size() > name.size() && key.name.substr(0, name.size()) == name &&
          key.name[name.size()] == '.')
        return true;
    return false;
  }

  void note_unknown(const std::string& name, const toml::key& key, const toml::node& node) {
    std::string what = node.is_table() ? "unknown section [" + name + "]" : "unknown key '" + name + "'";
    auto near = node.is_table() ? nearest_section(name) : nearest_key(name);
    if (!near.empty()) what += "; did you mean '" + near + "'?";
    note(key.source(), what);
  }

  Loaded& loaded_;
  const std::string file_;
  std::vector<std::string>& problems_;
};

bool is_credential(const std::string& path) { return path == "%d" || path.rfind("%d/", 0) == 0; }

// The main file, then the folder's.
Result<std::vector<std::string>> list_files(os::FileSystem& files, const Sources& sources) {
  std::vector<std::string> list;
  if (sources.file.empty()) return list;
  RS_TRY(bool there, files.exists(sources.file));
  if (!there && !sources.may_be_missing)
    return fail(ErrorCode::not_found, sources.file + ": there is no such file");
  if (there) list.push_back(sources.file);
  auto folder = os::join_path(os::parent_directory(sources.file), kFolder);
  RS_TRY(bool has_folder, files.exists(folder));
  if (!has_folder) return list;
  RS_TRY(auto names, files.list_directory(folder));  // sorted
  for (const auto& name : names)
    if (name.size() > 5 && name.front() != '.' && name.compare(name.size() - 5, 5, ".toml") == 0)
      list.push_back(os::join_path(folder, name));
  return list;
}

void apply_command_line(Loaded& loaded, const Sources& sources, std::vector<std::string>& problems) {
  for (const auto& [name, text] : sources.settings) {
    const auto* key = find_key(name);
    if (key == nullptr) {
      auto near = nearest_key(name);
      problems.push_back(std::string(kCommandLine) + ": unknown key '" + name + "'" +
                         (near.empty() ? "" : "; did you mean '" + near + "'?"));
      continue;
    }
    auto value = text;
    bool is_path = name == "repository.directory" || name == "repository.state" || name == "tls.authority" ||
                   name == "admin.socket";
    if (is_path && !value.empty() && !is_credential(value))
      value = std::filesystem::absolute(value).lexically_normal().string();
    if (auto set = set_from_text(loaded.config, *key, value); !set)
      problems.push_back(std::string(kCommandLine) + ": " + name + ": " + set.error().to_string());
    else
      loaded.origins[name] = {kCommandLine, 0};
  }
}

}  // namespace

std::string Origin::to_string() const {
  if (file.empty()) return "built in";
  return line == 0 ? file : file + ":" + std::to_string(line);
}

Origin Loaded::origin_of(std::string_view name) const {
  auto found = origins.find(name);
  return found == origins.end() ? Origin{} : found->second;
}

Result<Loaded> load(os::FileSystem& files, const Sources& sources) {
  Loaded loaded;
  std::vector<std::string> problems;
  RS_TRY(loaded.files, list_files(files, sources));
  for (const auto& file : loaded.files) {
    RS_TRY(auto content, os::read_file(files, file, kMostBytesOfFile));
    FileReader(loaded, file, problems).read(as_text(content));
  }
  apply_command_line(loaded, sources, problems);
  if (problems.empty()) return loaded;
  std::string text;
  for (const auto& problem : problems) text += (text.empty() ? "" : "\n") + problem;
  return fail(ErrorCode::invalid_argument, text);
}

Result<void> check_complete(const Config& config) {
  if (config.repository.directory.empty())
    return fail(ErrorCode::invalid_argument, "repository.directory is not set: write it in " +
                                                 std::string(kDefaultFile) + ", or run 'roamstead setup'");
  if (config.limits.connections_per_desktop > config.limits.connections)
    return fail(ErrorCode::invalid_argument,
                "limits.connections_per_desktop is more than limits.connections");
  if (config.limits.flight_per_desktop_bytes > config.limits.flight_bytes)
    return fail(ErrorCode::invalid_argument, "limits.in_flight_per_desktop is more than limits.in_flight");
  const auto& admin = config.admin;
  if (admin.socket.empty() && !(admin.viewers + admin.operators + admin.administrators).empty())
    return fail(
        ErrorCode::invalid_argument,
        "groups have roles, but cannot reach the socket in the state directory: set admin.socket, such as "
        "\"/run/roamstead/admin.sock\"");
  return {};
}

Result<std::string> expand_credentials(const std::string& path) {
  if (!is_credential(path)) return path;
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
  if (directory == nullptr || *directory == '\0')
    return fail(ErrorCode::invalid_argument,
                path + ": systemd passes no credentials; add LoadCredential= to the unit, or write a path");
  return path == "%d" ? std::string(directory) : os::join_path(directory, path.substr(3));
}

std::string state_directory(const Config& config) {
  return config.repository.state.empty() ? os::join_path(config.repository.directory, "state")
                                         : config.repository.state;
}

std::vector<std::string> changed_keys(const Config& before, const Config& after) {
  std::vector<std::string> changed;
  for (const auto& key : keys())
    if (toml_text(before, key) != toml_text(after, key)) changed.emplace_back(key.name);
  return changed;
}

void keep_unreloadable(Config& fresh, const Config& running) {
  for (const auto& key : keys())
    if (!key.reloadable) copy_value(fresh, running, key);
}

}  // namespace roamstead::config
