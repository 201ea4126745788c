// Artifacts that refer to an image: found, read and pushed at a registry with the referrers API,
// one without it, and some that lie.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "source/source.h"
#include "unit/io/loop_thread.h"
#include "unit/source/misbehaving_registry.h"

namespace dedup {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using test::LoopThread;
using test::MisbehavingRegistry;
using test::RawConnection;
using test::RawHttpServer;
using test::RawRequest;
using test::Shared;
using Answer = std::optional<bool>;
using Api = MisbehavingRegistry::Referrers;

const std::string kType = "application/vnd.example.profile.v1+json+zstd";
const std::string kIndexType = "application/vnd.oci.image.index.v1+json";
const std::string kManifestType = "application/vnd.oci.image.manifest.v1+json";

bool is_part_of(const RawRequest& request, const std::string& part) {
  return request.target.find(part) != std::string::npos;
}

class Referrers : public ::testing::Test {
 protected:
  void SetUp() override {
    loop.call([this] { http = std::move(HttpClient::open(loop.ring())).value(); });
    std::string pattern = (std::filesystem::temp_directory_path() / "referrersXXXXXX").string();
    directory = ::mkdtemp(pattern.data());
    options.docker_config = directory;
    options.retry_base = milliseconds(1);
    options.stall_timeout = milliseconds(5000);
    subject = registry.add_image("v1", "layer");
    make_source();
  }
  void TearDown() override {
    loop.call([this] {
      source.reset();
      http.reset();
    });
    std::filesystem::remove_all(directory);
  }
  void make_source() {
    reference = *Reference::parse(registry.host() + "/" + MisbehavingRegistry::kRepository + ":v1");
    loop.call(
        [this] { source = make_registry_source(loop.ring(), *http, log, options, reference); });
  }
  void log_in() {
    std::ofstream(directory + "/config.json")
        << R"({"auths":{")" << registry.host() << R"(":{"username":")" << MisbehavingRegistry::kUser
        << R"(","password":")" << MisbehavingRegistry::kPassword << R"("}}})";
  }
  Artifact artifact(const std::string& bytes, const std::string& entrypoint = "") const {
    Artifact made{kType, kType, {}, {}};
    const auto span = as_bytes(bytes);
    made.blob.assign(span.begin(), span.end());
    if (!entrypoint.empty()) made.annotations[kEntrypointAnnotation] = entrypoint;
    return made;
  }
  Result<Digest> push(const std::string& bytes, const std::string& entrypoint = "") {
    return loop.run(source->push_artifact(subject, artifact(bytes, entrypoint)));
  }
  Digest pushed(const std::string& bytes, const std::string& entrypoint = "") {
    const auto digest = push(bytes, entrypoint);
    EXPECT_TRUE(digest.ok()) << digest.error().to_string();
    return digest.ok() ? *digest : Digest{};
  }
  Result<std::vector<Referrer>> list() { return loop.run(source->referrers(subject, kType)); }
  std::vector<Referrer> listed() {
    auto found = list();
    EXPECT_TRUE(found.ok()) << found.error().to_string();
    return found.ok() ? *found : std::vector<Referrer>();
  }
  Result<Bytes> read(const Referrer& referrer, uint64_t max_bytes = 1000) {
    return loop.run(source->read_artifact(referrer, kType, max_bytes));
  }
  std::string text_of(const Referrer& referrer) {
    const auto bytes = read(referrer);
    EXPECT_TRUE(bytes.ok()) << bytes.error().to_string();
    return bytes.ok() ? std::string(as_text(*bytes)) : "";
  }
  std::string tag() const { return "sha256-" + subject.hex(); }
  json index() const { return json::parse(registry.manifest(tag())); }
  size_t asked_api() const { return registry.seen("/referrers/").size(); }
  size_t asked_tag() const { return registry.seen("/manifests/sha256-", "GET").size(); }
  // An answer to every request whose target has `part` in it.
  void answer(const std::string& part, const std::string& body, const std::string& headers = "") {
    registry.set_fault([=](const RawRequest& request, const RawConnection& out) -> Answer {
      if (!is_part_of(request, part)) return std::nullopt;
      return out.answer("200 OK", headers, body);
    });
  }

  Digest subject;
  std::string directory;
  UniqueFd null_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Log log{null_fd.get()};
  SourceOptions options;
  MisbehavingRegistry registry;
  Reference reference;
  LoopThread loop;
  std::unique_ptr<HttpClient> http;
  std::unique_ptr<ImageSource> source;
};

void expect_error(const Error& error, Errc code, const std::string& part) {
  EXPECT_EQ(error.code, code) << error.to_string();
  EXPECT_NE(error.context.find(part), std::string::npos) << error.to_string();
}

TEST_F(Referrers, ComeBackNewestFirstFromEveryKindOfRegistry) {
  for (const auto api : {Api::kFiltered, Api::kUnfiltered, Api::kNone}) {
    registry.set_referrers(api);
    subject = registry.add_image("v1", "layer " + std::to_string(static_cast<int>(api)));
    make_source();
    EXPECT_TRUE(listed().empty());
    const Digest first = pushed("one", "a");
    const Digest second = pushed("two", "b");
    Artifact foreign = artifact("other");
    foreign.artifact_type = "application/vnd.example.other";
    ASSERT_TRUE(loop.run(source->push_artifact(subject, foreign)).ok());
    const auto found = listed();
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].manifest.digest, second);
    EXPECT_EQ(found[1].manifest.digest, first);
    EXPECT_EQ(found[0].manifest.annotations.at(kEntrypointAnnotation), "b");
    EXPECT_EQ(text_of(found[0]), "two");
    EXPECT_EQ(text_of(found[1]), "one");
    EXPECT_EQ(registry.manifest(tag()).empty(), api != Api::kNone);
  }
}

TEST_F(Referrers, ManifestSaysWhatTheSpecificationAsksFor) {
  const auto manifest = json::parse(registry.manifest(pushed("bytes", "run me").to_string()));
  EXPECT_EQ(manifest["schemaVersion"], 2);
  EXPECT_EQ(manifest["mediaType"], kManifestType);
  EXPECT_EQ(manifest["artifactType"], kType);
  EXPECT_EQ(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
  EXPECT_EQ(manifest["config"]["digest"],
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
  EXPECT_EQ(manifest["config"]["size"], 2);
  ASSERT_EQ(manifest["layers"].size(), 1U);
  EXPECT_EQ(manifest["layers"][0]["mediaType"], kType);
  EXPECT_EQ(manifest["layers"][0]["size"], 5);
  EXPECT_EQ(manifest["subject"]["digest"], subject.to_string());
  EXPECT_EQ(manifest["subject"]["mediaType"], kManifestType);
  EXPECT_EQ(manifest["subject"]["size"], registry.manifest("v1").size());
  EXPECT_EQ(manifest["annotations"][kEntrypointAnnotation], "run me");
  EXPECT_TRUE(parse_time(manifest["annotations"][kCreatedAnnotation]).has_value());
}

// Each of the two requests is answered only when the other is there too.
TEST_F(Referrers, ApiAndTagAreAskedAtOnce) {
  std::mutex mutex;
  std::condition_variable changed;
  int there = 0;
  registry.set_fault([&](const RawRequest&, const RawConnection&) -> Answer {
    std::unique_lock lock(mutex);
    ++there;
    changed.notify_all();
    if (!changed.wait_for(lock, std::chrono::seconds(3), [&] { return there >= 2; })) return false;
    return std::nullopt;
  });
  EXPECT_TRUE(listed().empty());
  EXPECT_EQ(there, 2);
}

TEST_F(Referrers, WhatARegistryHasIsRemembered) {
  for (int i = 0; i < 3; ++i) listed();
  EXPECT_EQ(asked_api(), 1U);
  EXPECT_EQ(asked_tag(), 3U);
  registry.set_referrers(Api::kFiltered);
  make_source();
  const size_t before = asked_tag();
  for (int i = 0; i < 3; ++i) listed();
  EXPECT_EQ(asked_api(), 4U);
  EXPECT_EQ(asked_tag(), before + 1);
  // A refusal of these credentials does not mean that it is gone.
  registry.fail_next(1, "/referrers/", "403 Forbidden");
  for (int i = 0; i < 2; ++i) listed();
  EXPECT_EQ(asked_api(), 6U);
  EXPECT_EQ(asked_tag(), before + 2);
  // It was there and is gone.
  registry.set_referrers(Api::kNone);
  pushed("late");
  EXPECT_EQ(listed().size(), 1U);
}

TEST_F(Referrers, AnswerOfTheApiDoesNotWaitForTheTag) {
  registry.set_referrers(Api::kFiltered);
  pushed("one");
  registry.set_fault([](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_part_of(request, "/manifests/sha256-")) return std::nullopt;
    out.hang();
    return false;
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(listed().size(), 1U);
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(2500));
}

TEST_F(Referrers, ApiThatFailsLeavesTheTagAndSilenceIsNotNone) {
  for (const char* status : {"500 Oops", "503 Busy", "401 Unauthorized", "405 No", "501 No"}) {
    make_source();
    pushed("one");
    registry.fail_next(1000, "/referrers/", status);
    EXPECT_EQ(listed().size(), 1U) << status;
    registry.set_fault({});
  }
  subject = registry.add_image("v1", "another layer");
  registry.fail_next(1000, "/referrers/", "503 Busy");
  make_source();
  ASSERT_FALSE(list().ok());
  expect_error(list().error(), Errc::kUnavailable, registry.host());
  registry.fail_next(1000, "/referrers/", "405 No");
  EXPECT_TRUE(listed().empty());
  make_source();
  answer("/referrers/", "<html>Welcome</html>", "Content-Type: text/html; charset=utf-8\r\n");
  EXPECT_TRUE(listed().empty());
}

TEST_F(Referrers, ListOfSeveralPagesIsReadToItsEnd) {
  registry.set_referrers(Api::kUnfiltered);
  const Digest first = pushed("one", "a");
  const auto entry = [&](const Digest& digest) {
    return json{{"mediaType", kManifestType},
                {"digest", digest.to_string()},
                {"size", registry.manifest(digest.to_string()).size()},
                {"artifactType", kType}};
  };
  const auto page = [](json list) {
    return json{{"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", std::move(list)}};
  };
  const std::string one = page(json::array()).dump(), two = page({entry(first)}).dump();
  Shared<std::string> next("<?n=1&last=x>; rel=\"next\"");
  registry.set_fault([&](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_part_of(request, "/referrers/")) return std::nullopt;
    if (is_part_of(request, "?n=1&last=x")) return out.answer("200 OK", "", two);
    return out.answer("200 OK", "Link: " + next.get() + "\r\n", one);
  });
  ASSERT_EQ(listed().size(), 1U);
  EXPECT_EQ(listed()[0].manifest.digest, first);
  // Not to other places, and not for ever.
  RawHttpServer other([](const RawRequest&, const RawConnection&) { return false; });
  next.set("<" + other.url("/?n=1&last=x") + ">; rel=\"next\"");
  EXPECT_TRUE(listed().empty());
  EXPECT_EQ(other.connections(), 0U);
  next.set("<?again>; rel=\"next\"");
  const size_t before = asked_api();
  EXPECT_TRUE(listed().empty());
  EXPECT_EQ(asked_api(), before + 8);
}

TEST_F(Referrers, BadListsAreErrorsAndBadEntriesAreLeftOut) {
  const Digest good = pushed("one");
  const std::string entry = index()["manifests"][0].dump();
  const auto list_of = [&](const std::string& entries) {
    return R"({"schemaVersion":2,"mediaType":")" + kIndexType + R"(","manifests":[)" + entries +
           "]}";
  };
  const std::string foreign = R"({"digest":"md5:1","size":1,"artifactType":")" + kType + R"("})";
  const std::string shapeless = R"(7,null,{"artifactType":7},{"artifactType":")" + kType + R"("})";
  std::string many = "{}";
  for (int i = 0; i < 4096; ++i) many += ",{}";
  for (const char* part : {"/referrers/", "/manifests/sha256-"}) {
    answer(part, list_of(foreign + "," + shapeless + "," + entry));
    make_source();
    const auto found = listed();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].manifest.digest, good);
    if (part == std::string("/referrers/")) registry.add_manifest(tag(), kIndexType, list_of(""));
    for (const std::string& bad :
         {std::string("<html>"), std::string("[]"), std::string(R"({"manifests":7})"),
          list_of(many), std::string(R"({"schemaVersion":2,"layers":[]})"),
          R"({"manifests":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}"}) {
      answer(part, bad);
      make_source();
      const auto result = list();
      ASSERT_FALSE(result.ok()) << bad.substr(0, 50);
      expect_error(result.error(), Errc::kInvalid, registry.host());
    }
  }
}

TEST_F(Referrers, HugeListIsRefusedWithoutReadingIt) {
  const auto sent = std::make_shared<std::atomic<size_t>>(0);
  registry.set_fault([sent](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_part_of(request, "/referrers/")) return std::nullopt;
    out.write("HTTP/1.1 200 OK\r\n\r\n");
    const std::string piece(1 << 16, ' ');
    while (*sent < (size_t{1} << 30) && out.write(piece)) *sent += piece.size();
    return false;
  });
  const auto result = list();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::kInvalid);
  EXPECT_LT(*sent, size_t{64} << 20);
}

TEST_F(Referrers, ArtifactsThatLieAreRefused) {
  pushed("honest bytes");
  const Referrer honest = listed().at(0);
  EXPECT_EQ(read(honest, 12).ok(), true);
  expect_error(read(honest, 11).error(), Errc::kInvalid, "12 bytes, more than the 11 allowed");
  Referrer listed_wrong = honest;
  ++listed_wrong.manifest.size;
  expect_error(read(listed_wrong).error(), Errc::kCorruption, registry.host());
  listed_wrong.manifest.size = uint64_t{1} << 40;
  expect_error(read(listed_wrong).error(), Errc::kInvalid, "refused");
  listed_wrong = honest;
  listed_wrong.manifest.digest = sha256(as_bytes("absent"));
  expect_error(read(listed_wrong).error(), Errc::kNotFound, registry.host());
  expect_error(loop.run(source->read_artifact(honest, "text/plain", 1000)).error(), Errc::kInvalid,
               "layers[0].mediaType is not text/plain");
  answer("/blobs/", "forged bytes");
  expect_error(read(honest).error(), Errc::kCorruption, "has digest");
  answer("/blobs/", "short");
  expect_error(read(honest).error(), Errc::kCorruption, "descriptor says 12");
  answer("/manifests/", "{}");
  expect_error(read(honest).error(), Errc::kCorruption, registry.host());
}

TEST_F(Referrers, ManifestsThatDoNotMatchTheListAreRefused) {
  const auto good = json::parse(registry.manifest(pushed("bytes").to_string()));
  const std::pair<json, std::string> cases[] = {
      {{{"artifactType", "application/other"}}, "artifactType is not the listed"},
      {{{"artifactType", nullptr}}, "artifactType is not the listed"},
      {{{"subject", nullptr}}, "subject is missing"},
      {{{"subject", 7}}, "subject is not a descriptor"},
      {{{"subject", {{"digest", sha256(as_bytes("x")).to_string()}}}}, "is another manifest"},
      {{{"layers", json::array()}}, "layers is empty"},
      {{{"layers", json::array({good["layers"][0], good["layers"][0]})}}, "more than 1"},
      {{{"layers", json::array({json::object()})}}, "layers[0].digest is missing"},
      {{{"mediaType", kIndexType}}, "is no OCI image manifest"},
  };
  for (const auto& [patch, part] : cases) {
    json manifest = good;
    manifest.merge_patch(patch);
    const std::string body = manifest.dump();
    Referrer referrer{subject, kType, {}};
    referrer.manifest.digest = registry.add_manifest("bad", kManifestType, body);
    referrer.manifest.size = body.size();
    const auto bytes = read(referrer);
    ASSERT_FALSE(bytes.ok()) << part;
    expect_error(bytes.error(), Errc::kInvalid, part);
    expect_error(bytes.error(), Errc::kInvalid, referrer.manifest.digest.to_string());
  }
}

TEST_F(Referrers, MirrorIsAskedForListsAndNeverPushedTo) {
  MisbehavingRegistry mirror;
  options.hosts[registry.host()] = {
      .plain_http = true, .ca_file = "", .mirrors = {mirror.url("/")}};
  make_source();
  pushed("one");
  EXPECT_TRUE(mirror.seen("").empty());
  // A mirror without a list says nothing, and one whose artifact is missing or damaged neither.
  ASSERT_EQ(listed().size(), 1U);
  EXPECT_EQ(mirror.seen("?artifactType=").size(), 1U);
  EXPECT_EQ(mirror.seen("&ns=" + registry.host()).size(), 1U);
  const Referrer referrer = listed().at(0);
  EXPECT_EQ(text_of(referrer), "one");
  const std::string manifest = registry.manifest(referrer.manifest.digest.to_string());
  mirror.add_manifest("x", kManifestType, manifest);
  mirror.set_fault([](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_part_of(request, "/blobs/")) return std::nullopt;
    return out.answer("200 OK", "", "lie");
  });
  EXPECT_EQ(text_of(referrer), "one");
  mirror.set_fault({});
  mirror.add_blob("one");
  const size_t before = registry.seen("").size();
  EXPECT_EQ(text_of(referrer), "one");
  EXPECT_EQ(registry.seen("").size(), before);
}

TEST_F(Referrers, PushAsksForATokenThatMayPush) {
  log_in();
  for (const auto kind : {MisbehavingRegistry::Auth::kBearer, MisbehavingRegistry::Auth::kBasic}) {
    registry.set_auth(kind);
    make_source();
    pushed(kind == MisbehavingRegistry::Auth::kBasic ? "basic" : "bearer");
    EXPECT_EQ(listed().size(), 1U);
  }
  // One token for the whole push although it begins with reads, and a lesser one for reading.
  const auto tokens = registry.seen("/token");
  ASSERT_EQ(tokens.size(), 2U);
  EXPECT_TRUE(tokens[0].target.ends_with("scope=repository%3Ateam%2Fapp%3Apull%2Cpush"));
  EXPECT_TRUE(tokens[1].target.ends_with("scope=repository%3Ateam%2Fapp%3Apull"));
}

TEST_F(Referrers, RefusedPushesSayWhy) {
  registry.set_auth(MisbehavingRegistry::Auth::kBearer);
  expect_error(push("x").error(), Errc::kDenied, directory + "/config.json");
  registry.set_auth(MisbehavingRegistry::Auth::kNone);
  registry.fail_next(1, "/uploads/", "403 Forbidden");
  expect_error(push("x").error(), Errc::kDenied, "refused a push to team/app (403)");
  registry.fail_next(1, "/uploads/", "405 Method Not Allowed");
  expect_error(push("x").error(), Errc::kUnsupported, "read-only");
  registry.fail_next(1, "/uploads/", "307 Temporary Redirect", "Location: /elsewhere\r\n");
  expect_error(push("x").error(), Errc::kInvalid, "elsewhere (307)");
  EXPECT_TRUE(registry.seen("/elsewhere").empty());
  const Digest real = std::exchange(subject, sha256(as_bytes("absent")));
  expect_error(push("x").error(), Errc::kNotFound, subject.to_string());
  subject = real;
  Artifact large = artifact("");
  large.blob.resize(kMaxArtifactBytes + 1);
  EXPECT_EQ(loop.run(source->push_artifact(subject, large)).error().code, Errc::kInvalid);
  EXPECT_TRUE(registry.manifest(tag()).empty());
}

TEST_F(Referrers, BlobsThatAreThereAreNotUploadedAgain) {
  pushed("same bytes");
  EXPECT_EQ(registry.seen("/uploads/", "PUT").size(), 2U);  // the config and the blob
  pushed("same bytes", "another entrypoint");
  EXPECT_EQ(registry.seen("/uploads/", "PUT").size(), 2U);
  pushed("other bytes");
  EXPECT_EQ(registry.seen("/uploads/", "PUT").size(), 3U);
}

TEST_F(Referrers, LargestArtifactGoesThereAndBack) {
  std::string bytes(kMaxArtifactBytes, 'x');
  for (size_t i = 0; i < bytes.size(); i += 4099) bytes[i] = static_cast<char>(i);
  pushed(bytes);
  const auto back = read(listed().at(0), kMaxArtifactBytes);
  ASSERT_TRUE(back.ok()) << back.error().to_string();
  EXPECT_EQ(sha256(*back), sha256(as_bytes(bytes)));
}

TEST_F(Referrers, UploadsGoWhereTheLocationSays) {
  log_in();
  registry.set_auth(MisbehavingRegistry::Auth::kBasic);
  registry.set_upload_origin(registry.url(""));
  pushed("absolute");
  // A store of its own takes the bytes and gets none of our credentials.
  Shared<std::string> authorization("none"), body;
  RawHttpServer store([&](const RawRequest& request, const RawConnection& out) {
    authorization.set(request.header("authorization"));
    body.set(request.body);
    return out.answer("201 Created", "", "");
  });
  registry.set_upload_origin(store.url("/bucket"));
  EXPECT_FALSE(push("elsewhere").ok());  // the registry does not know the blob
  EXPECT_EQ(authorization.get(), "");
  EXPECT_EQ(body.get(), "elsewhere");
  for (const char* bad : {"ftp://x", "file://", "http://[", "http://a b"}) {
    registry.set_upload_origin(bad);
    expect_error(push("badly").error(), Errc::kInvalid, registry.host());
  }
  // What the place is called may be a secret.
  registry.set_upload_origin("");
  registry.fail_next(1000, "?_state=", "400 Bad Request");
  const auto failed = push("secret place");
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().context.find("secret"), std::string::npos) << failed.error().context;
}

TEST_F(Referrers, FailedUploadIsBegunAnew) {
  registry.fail_next(2, "?_state=", "503 Busy");
  pushed("after all");
  EXPECT_EQ(registry.seen("/blobs/uploads/", "POST").size(), 4U);
  registry.fail_next(1000, "?_state=", "503 Busy");
  EXPECT_EQ(push("never").error().code, Errc::kUnavailable);
}

TEST_F(Referrers, PushingAgainReplacesAndForeignEntriesStayAsTheyAre) {
  const json foreign = {{"mediaType", kManifestType},
                        {"digest", sha256(as_bytes("signature")).to_string()},
                        {"size", 9},
                        {"artifactType", "application/vnd.example.signature"},
                        {"annotations", {{"a", "b"}}},
                        {"urls", {"https://example.invalid"}},
                        {"unknown", {1.5, nullptr, true}}};
  const json untyped = {{"digest", "sha512:00"}, {"size", 1}};
  json before = {{"schemaVersion", 2},
                 {"mediaType", kIndexType},
                 {"manifests", {foreign, untyped, "no object"}},
                 {"annotations", {{"kept", "yes"}}}};
  registry.add_manifest(tag(), kIndexType, before.dump());
  pushed("one", "a");
  pushed("two", "a");
  const Digest newest = pushed("three", "a");
  const Digest other = pushed("four", "b");
  const Digest plain = pushed("five");
  json after = index();
  ASSERT_EQ(after["manifests"].size(), 6U);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(after["manifests"][i], before["manifests"][i]);
  EXPECT_EQ(after["manifests"][3]["digest"], newest.to_string());
  EXPECT_EQ(after["manifests"][4]["digest"], other.to_string());
  EXPECT_EQ(after["manifests"][5]["digest"], plain.to_string());
  EXPECT_EQ(after["manifests"][3]["artifactType"], kType);
  EXPECT_EQ(after["annotations"], before["annotations"]);
  EXPECT_EQ(listed().size(), 3U);
}

TEST_F(Referrers, TagThatIsSomethingElseIsLeftAlone) {
  const std::string image = registry.manifest("v1");
  registry.add_manifest(tag(), kManifestType, image);
  expect_error(push("x").error(), Errc::kInvalid, tag());
  EXPECT_EQ(registry.manifest(tag()), image);
  json full = {{"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", json::array()}};
  for (int i = 0; i < 4096; ++i) full["manifests"].push_back(json::object());
  registry.add_manifest(tag(), kIndexType, full.dump());
  expect_error(push("x").error(), Errc::kInvalid, "is full");
  EXPECT_EQ(registry.manifest(tag()), full.dump());
}

// Somebody who had read the index before our write replaces it after.
TEST_F(Referrers, EntryThatAnotherWriterDroppedIsAddedAgain) {
  const std::string theirs =
      json{{"schemaVersion", 2},
           {"mediaType", kIndexType},
           {"manifests", {{{"digest", sha256(as_bytes("theirs")).to_string()}, {"size", 1}}}}}
          .dump();
  std::atomic<int> drops{2};
  std::atomic<int> puts{0};
  registry.set_fault([&](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_part_of(request, "/manifests/sha256-") || request.method != "PUT") return std::nullopt;
    ++puts;
    if (drops-- <= 0) return std::nullopt;
    registry.add_manifest("sha256-" + subject.hex(), kIndexType, theirs);
    return out.answer("201 Created", "", "");
  });
  const Digest ours = pushed("ours");
  EXPECT_EQ(puts, 3);
  ASSERT_EQ(index()["manifests"].size(), 2U);
  EXPECT_EQ(index()["manifests"][1]["digest"], ours.to_string());
  drops = 1000;
  expect_error(push("never").error(), Errc::kUnavailable, tag());
}

Task<void> push_one(ImageSource& source, Digest subject, Artifact artifact, int* good) {
  const auto digest = co_await source.push_artifact(subject, artifact);
  if (digest.ok()) ++*good;
}

Task<int> push_all(std::vector<ImageSource*> sources, Digest subject,
                   std::vector<Artifact> artifacts) {
  int good = 0;
  TaskScope scope;
  for (size_t i = 0; i < artifacts.size(); ++i) {
    scope.spawn(push_one(*sources[i % sources.size()], subject, artifacts[i], &good));
  }
  co_await scope.join();
  co_return good;
}

// One source pushes one after the other; the other node races it.
TEST_F(Referrers, SeveralWritersAtOnceLoseNothing) {
  std::unique_ptr<ImageSource> other;
  options.retry_base = milliseconds(40);
  make_source();
  loop.call([&] { other = make_registry_source(loop.ring(), *http, log, options, reference); });
  std::vector<Artifact> artifacts;
  for (int i = 0; i < 8; ++i) {
    artifacts.push_back(artifact("bytes " + std::to_string(i), "run " + std::to_string(i)));
  }
  const std::vector<ImageSource*> sources = {source.get(), other.get()};
  EXPECT_EQ(loop.run(push_all(sources, subject, artifacts)), 8);
  EXPECT_EQ(listed().size(), 8U);
  // The same profile from two nodes: one entry, and neither node fights the other.
  const std::vector<Artifact> same = {artifact("mine", "same"), artifact("yours", "same")};
  EXPECT_EQ(loop.run(push_all(sources, subject, same)), 2);
  EXPECT_EQ(listed().size(), 9U);
  loop.call([&] { other.reset(); });
}

}  // namespace
}  // namespace dedup
