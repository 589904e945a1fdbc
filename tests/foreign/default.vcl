vcl 4.1;

backend app {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
}

sub vcl_recv {
    if (req.http.Cache-Control ~ "no-store") {
        return (pass);
    }
}

sub vcl_backend_response {
    set beresp.ttl = 60s;
}

sub vcl_pass {
    set req.http.X-Passed = "yes";
}

sub vcl_deliver {
    if (req.http.X-Passed) {
        set resp.http.X-Varnish-Says = "passed";
    } elsif (obj.hits > 0) {
        set resp.http.X-Varnish-Says = "served from the store";
    } else {
        set resp.http.X-Varnish-Says = "fetched";
    }
}
