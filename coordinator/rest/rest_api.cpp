#include "coordinator/rest/rest_api.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "common/base/sha256.h"
#include "coordinator/rest/openapi.h"
#include "coordinator/rest/paging.h"
#include "coordinator/rest/problem.h"
#include "coordinator/server/command_table.h"

namespace roamstead::rest {
namespace {

using nlohmann::json;

HttpResponse json_response(int status, const json& body) {
  HttpResponse response;
  response.status = status;
  response.body = body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return response;
}

std::string etag_of(const std::string& body) {
  constexpr const char* kDigits = "0123456789abcdef";
  constexpr std::size_t kBytes = 12;
  const auto digest = sha256(as_bytes(body));
  std::string tag = "\"";
  for (std::size_t i = 0; i < kBytes; ++i) {
    tag += kDigits[std::to_integer<unsigned>(digest[i]) >> 4];
    tag += kDigits[std::to_integer<unsigned>(digest[i]) & 15];
  }
  return tag + "\"";
}

// Of a list of tags (RFC 9110, 13.1.1); ours are all strong ones.
bool names_tag(const std::string& header, const std::string& tag) {
  return header == "*" || header.find(tag) != std::string::npos;
}

std::vector<std::string> segments_of(const std::string& path) {
  std::vector<std::string> segments;
  for (std::size_t at = 1; at <= path.size();) {
    const auto slash = std::min(path.find('/', at), path.size());
    segments.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return segments;
}

bool is_variable(const std::string& segment) { return segment.front() == '{'; }

bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  if (pattern.size() != path.size()) return false;
  for (std::size_t i = 0; i < path.size(); ++i)
    if (!is_variable(pattern[i]) && pattern[i] != path[i]) return false;
  return true;
}

HttpResponse faults_response(const json& faults, const std::string& instance) {
  std::string detail;
  for (const auto& fault : faults) {
    const auto pointer = fault["pointer"].get<std::string>();
    detail += (detail.empty() ? "" : "; ") + (pointer.empty() ? "" : pointer.substr(1) + " ") +
              fault["detail"].get<std::string>();
  }
  auto object = problem(problem_kind("invalid-fields"), detail, instance);
  object["errors"] = faults;
  return problem_response(object);
}

constexpr std::uint64_t kDefaultPrepareSeconds = 60;

}  // namespace

struct RestApi::Call {
  const server::Caller& caller;
  const HttpRequest& http;
  const std::function<bool()>& may_go_on;
  const Route& route;
  std::string instance;         // the path, for problems
  json path = json::object();   // its fields
  json query = json::object();  // the route's own
  json body = json::object();
  std::size_t limit = kDefaultItems;
  std::string cursor;

  HttpResponse fail_with(const Error& error) const {
    return problem_response(kind_of(error.code), error.to_string(), instance);
  }
  HttpResponse fail_with(const char* slug, const std::string& detail) const {
    return problem_response(problem_kind(slug), detail, instance);
  }
  // What the command is asked.
  json request() const {
    json all = to_command(body);
    all.update(path);
    for (const auto& [name, value] : query.items())
      if (std::find(route.filters.begin(), route.filters.end(), name) == route.filters.end())
        all[name] = value;
    for (const auto& flag : route.flags) all[flag] = true;
    all["command"] = route.command;
    return all;
  }
  Result<void> read_path();
  // Faults, as errors of a problem.
  json read_query();
  json read_body(bool& is_json);
};

Result<void> RestApi::Call::read_path() {
  const auto pattern = segments_of(route.path);
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (!is_variable(pattern[i])) continue;
    const auto name = pattern[i].substr(1, pattern[i].size() - 2);
    auto value = value_of(http.path[i], path_field(name));
    // What cannot be a name is none of anything that is there.
    if (!value) return fail(ErrorCode::not_found, "'" + name + "' " + value.error());
    path[name] = std::move(*value);
  }
  return {};
}

json RestApi::Call::read_query() {
  auto faults = json::array();
  for (const auto& [name, text] : http.query) {
    auto fault = [&](const std::string& detail) {
      faults.push_back({{"pointer", "/" + name.substr(0, 64)}, {"detail", detail}});
    };
    if (route.shape == Shape::page && name == "cursor") {
      cursor = text;
      if (text.empty()) fault("must not be empty");
      continue;
    }
    if (route.shape == Shape::page && name == "limit") {
      Field field{"limit", Type::integer, ""};
      field.least = 1;
      field.most = kMostItems;
      auto value = value_of(text, field);
      if (value)
        limit = value->get<std::size_t>();
      else
        fault(value.error());
      continue;
    }
    auto known = std::find_if(route.query.begin(), route.query.end(),
                              [&, &wanted = name](const Field& field) { return field.name == wanted; });
    if (known == route.query.end()) {
      fault("is not known here");
    } else if (auto value = value_of(text, *known)) {
      query[name] = std::move(*value);
    } else {
      fault(value.error());
    }
  }
  return faults;
}

json RestApi::Call::read_body(bool& is_json) {
  if (http.body.empty()) return faults_of(body, route.body);
  const auto* type = http.header("content-type");
  is_json = type != nullptr && (*type == "application/json" || type->rfind("application/json;", 0) == 0);
  if (!is_json) return json::array();
  body = json::parse(http.body, nullptr, false);
  if (!body.is_object()) {
    auto faults = json::array();
    faults.push_back({{"pointer", ""}, {"detail", "the body is no JSON object"}});
    return faults;
  }
  return faults_of(body, route.body);
}

RestApi::RestApi(Options options) : options_(std::move(options)) {}

Result<std::unique_ptr<RestApi>> RestApi::create(Options options) {
  std::unique_ptr<RestApi> api(new RestApi(std::move(options)));
  auto least_role = [](const std::string& command) {
    return std::string(to_string(server::command_table().find(command)->least_role));
  };
  api->description_ = openapi(api->options_.version, least_role).dump(2) + "\n";
  auto& store = api->options_.context().store;
  api->idempotency_ = std::make_unique<Idempotency>(store);
  RS_TRY(api->operations_, Operations::open(store));
  return api;
}

void RestApi::stop() { operations_->stop(); }

HttpResponse RestApi::answer(const server::Caller& caller, const HttpRequest& request,
                             const std::function<bool()>& may_go_on) {
  try {
    // No page of another site may act in the name of an administrator whose browser has a certificate.
    if (request.header("origin") != nullptr || request.header("sec-fetch-site") != nullptr)
      return problem_response(problem_kind("denied"), "this interface is not for browsers");
    return find_and_answer(caller, request, may_go_on);
  } catch (const std::exception& error) {  // a bug in one answer must not end the coordinator
    log_event(Event::admin_command_broken, "REST: {} {}: {}", request.method, request.target.substr(0, 200),
              error.what());
    return problem_response(problem_kind("internal"), "the coordinator's log says more");
  }
}

HttpResponse RestApi::find_and_answer(const server::Caller& caller, const HttpRequest& request,
                                      const std::function<bool()>& may_go_on) {
  const auto path = request.target.substr(0, request.target.find('?'));
  if (request.path == std::vector<std::string>{"openapi.json"}) {
    if (request.method != "GET") return problem_response(problem_kind("method-not-allowed"), "GET it", path);
    HttpResponse response;
    response.body = description_;
    return response;
  }
  std::string allowed;
  for (const auto& route : routes()) {
    if (!matches(segments_of(route.path), request.path)) continue;
    if (route.method != request.method) {
      allowed += (allowed.empty() ? "" : ", ") + route.method;
      continue;
    }
    Call call{caller, request, may_go_on, route, path, {}, {}, {}, kDefaultItems, ""};
    call.path = call.query = call.body = json::object();
    return answer_route(call);
  }
  if (allowed.empty())
    return problem_response(problem_kind("no-such-path"), "/openapi.json says what there is", path);
  auto response = problem_response(problem_kind("method-not-allowed"), "it has " + allowed, path);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

HttpResponse RestApi::answer_route(Call& call) {
  if (auto read = call.read_path(); !read) return call.fail_with(read.error());
  // Before anything else is said about what is there.
  if (!call.route.command.empty()) {
    auto asked = call.path;
    asked["command"] = call.route.command;
    if (auto may = server::check_role(options_.context(), call.caller, asked); !may)
      return call.fail_with(may.error());
  }
  if (auto faults = call.read_query(); !faults.empty()) return faults_response(faults, call.instance);
  bool is_json = true;
  auto faults = call.read_body(is_json);
  if (!is_json) return call.fail_with("not-json", "the body's Content-Type is not application/json");
  if (!faults.empty()) return faults_response(faults, call.instance);
  switch (call.route.shape) {
    case Shape::page:
      return page(call);
    case Shape::item:
      return item(call);
    case Shape::stream:
      return stream(call);
    case Shape::act:
    case Shape::create:
    case Shape::operation:
      break;
  }
  return call.route.method == "GET" ? act(call) : act_once(call);
}

HttpResponse RestApi::act_once(Call& call) {
  std::unique_lock<std::mutex> matching(matching_mutex_, std::defer_lock);
  const auto* key = call.http.header("idempotency-key");
  std::unique_ptr<Idempotency::Turn> turn;
  if (key != nullptr) {
    if (key->size() < Idempotency::kLeastKey || key->size() > Idempotency::kMostKey ||
        key->find_first_of(" \t") != std::string::npos)
      return call.fail_with("bad-request", "an Idempotency-Key has 16 to 128 printable characters");
    // Parsed and written again, so that spaces and the order of fields make no difference.
    const auto asked = call.http.method + " " + call.http.target + "\n" + call.body.dump();
    auto begun = idempotency_->begin(call.caller.name, *key, asked, now_100ns());
    if (!begun) return call.fail_with(begun.error());
    if (begun->answer) return std::move(*begun->answer);
    turn = std::move(begun->turn);
  }
  auto response = [&]() -> HttpResponse {
    if (const auto* tag = call.http.header("if-match")) {
      const Route* sibling = nullptr;
      for (const auto& other : routes())
        if (other.path == call.route.path && other.shape == Shape::item) sibling = &other;
      if (sibling == nullptr) return call.fail_with("bad-request", "nothing here has an ETag");
      matching.lock();
      auto present = find_item(call, *sibling);
      if (!present) return call.fail_with(present.error());
      if (!names_tag(*tag, etag_of(json_response(200, *present).body)))
        return call.fail_with("precondition-failed", "get it again, and decide anew");
    }
    return call.route.shape == Shape::operation ? begin_operation(call) : act(call);
  }();
  if (turn)
    if (auto kept = turn->finish(response); !kept)
      return call.fail_with(std::move(kept).error().with("it was done, but the answer cannot be kept"));
  return response;
}

HttpResponse RestApi::act(Call& call) {
  auto result = server::execute(options_.context(), call.caller, call.request(), {});
  if (!result) return call.fail_with(result.error());
  auto answer = from_command(*result);
  if (call.route.shape != Shape::create) return json_response(200, answer);
  auto response = json_response(201, answer);
  response.headers.emplace_back(
      "Location",
      call.instance + "/" + percent_encode(answer.at(call.route.keys.front()).get<std::string>()));
  return response;
}

HttpResponse RestApi::begin_operation(Call& call) {
  auto request = call.request();
  std::string about;
  for (const auto* part : {&call.path, &call.body})
    for (const auto& [name, value] : part->items())
      about += (about.empty() ? "" : ", ") + name + " " +
               (value.is_string() ? value.get<std::string>() : value.dump());
  Operations::Task task = [this, caller = call.caller, request](const admin::ProgressSink& progress) {
    return std::optional(server::execute(options_.context(), caller, request, progress));
  };
  if (call.route.command == "desktop.prepare") {
    if (auto can = server::check_prepare(options_.context(), request); !can)
      return call.fail_with(can.error());
    const auto within = std::chrono::seconds(request.value("within_seconds", kDefaultPrepareSeconds));
    // The desktop may have to be started first: nobody's thread waits for that.
    task = [this, run = task, desktop = request["desktop"].get<std::string>(),
            until = std::chrono::steady_clock::now() +
                    within](const admin::ProgressSink& progress) -> std::optional<Result<json>> {
      if (std::chrono::steady_clock::now() >= until || options_.context().sessions.is_connected(desktop))
        return run(progress);
      progress({"waiting for desktop " + desktop, 0, 0});
      return std::nullopt;
    };
  }
  auto begun = operations_->begin(call.route.id, about, call.caller.name, std::move(task));
  if (!begun) return call.fail_with(begun.error());
  auto response = json_response(202, *begun);
  response.headers.emplace_back("Location", "/v1/operations/" + (*begun)["operation"].get<std::string>());
  return response;
}

Result<std::vector<json>> RestApi::items_of(const Call& call, const Route& route) {
  if (route.list == "operations") return operations_->all();
  auto request = call.request();
  request["command"] = route.command;
  for (const auto& flag : route.flags) request[flag] = true;
  if (route.command == "audit.show") request["limit"] = 10'000;
  RS_TRY(auto result, server::execute(options_.context(), call.caller, request, {}));
  std::vector<json> items;
  for (const auto& each : result.at(route.list))
    items.push_back(from_command(route.reshape != nullptr ? route.reshape(each) : each));
  return items;
}

HttpResponse RestApi::page(Call& call) {
  auto items = items_of(call, call.route);
  if (!items) return call.fail_with(items.error());
  for (const auto& name : call.route.filters) {
    if (!call.query.contains(name)) continue;
    items->erase(
        std::remove_if(items->begin(), items->end(),
                       [&](const json& each) { return each.value(name, json()) != call.query[name]; }),
        items->end());
  }
  auto made = page_of(std::move(*items), call.route.keys,
                      {call.limit, call.cursor, call.instance + "?" + call.query.dump()});
  if (!made) return call.fail_with("invalid-cursor", made.error().to_string());
  return json_response(200, *made);
}

Result<json> RestApi::find_item(const Call& call, const Route& route) {
  RS_TRY(auto items, items_of(call, route));
  const auto& key = route.keys.front();
  const json* found = nullptr;
  for (const auto& each : items) {
    if (each.value(key, json()) != call.path.at(key)) continue;
    if (found == nullptr || route.unless.empty() || !each.value(route.unless, false)) found = &each;
  }
  if (found == nullptr)
    return fail(ErrorCode::not_found,
                "no " + key + " '" +
                    (call.path[key].is_string() ? call.path[key].get<std::string>() : call.path[key].dump()) +
                    "'");
  return *found;
}

HttpResponse RestApi::item(Call& call) {
  auto found = find_item(call, call.route);
  if (!found) return call.fail_with(found.error());
  auto response = json_response(200, *found);
  const auto tag = etag_of(response.body);
  const auto* known = call.http.header("if-none-match");
  if (known != nullptr && names_tag(*known, tag)) {
    response.status = 304;
    response.body.clear();
  }
  response.headers.emplace_back("ETag", tag);
  return response;
}

bool RestApi::take_stream(const std::string& administrator) {
  std::lock_guard lock(streams_mutex_);
  std::size_t all = 0;
  for (const auto& [name, count] : streams_) all += count;
  auto& own = streams_[administrator];
  if (all >= options_.streams || own >= options_.streams_of_administrator) return false;
  ++own;
  return true;
}

HttpResponse RestApi::stream(Call& call) {
  const auto id = call.path["operation"].get<std::string>();
  if (!operations_->find(id)) return call.fail_with("not-found", "no operation '" + id + "'");
  std::uint64_t after = 0;
  if (const auto* last = call.http.header("last-event-id")) {
    auto [end, failure] = std::from_chars(last->data(), last->data() + last->size(), after);
    if (failure != std::errc() || end != last->data() + last->size())
      return call.fail_with("bad-request", "Last-Event-ID is not one of these events");
  }
  if (!take_stream(call.caller.name))
    return call.fail_with("too-many", "too many event streams at once; ask for the operation now and then");
  // The place is given back when the answer is gone, whether or not it ever began.
  std::shared_ptr<void> place(nullptr, [this, name = call.caller.name](void*) {
    std::lock_guard lock(streams_mutex_);
    if (--streams_[name] == 0) streams_.erase(name);
  });
  HttpResponse response;
  response.content_type = "text/event-stream";
  response.stream = [this, id, after, place, may_go_on = call.may_go_on](ResponseSink& sink) mutable {
    while (sink.is_open() && may_go_on()) {
      auto events = operations_->events(id, after, options_.heartbeat);
      if (!events) return;
      std::string text;
      for (const auto& event : events->events) {
        text += "id: " + std::to_string(event.number) + "\nevent: " + event.name + "\ndata: " + event.data +
                "\n\n";
        after = event.number;
      }
      if (text.empty()) text = ": nothing new\n\n";
      if (!sink.write(text) || events->ended) return;
    }
  };
  return response;
}

}  // namespace roamstead::rest
